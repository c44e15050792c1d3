// GraphiQL against this host: POST for queries and mutations, graphql-transport-ws for subscriptions.
"use strict";

const ENDPOINT = "/graphql";
const STORED = "graphiql:";
const HISTORY = [`${STORED}queries`, `${STORED}favorites`];
const WHO = "{ viewer { login organization { name } } }";
// What the Watch tab has in the place of a job's id, so that it runs as it stands.
const NEWEST = "NEWEST";
const NEWEST_JOB = "{ jobs(first: 1) { nodes { id } } }";

const byId = (id) => document.getElementById(id);
const who = byId("who");
const root = ReactDOM.createRoot(byId("graphiql"));

// GraphiQL writes a query's headers into its history even where headers are not to be kept, and the API key with them.
const storage = {
  getItem: (name) => localStorage.getItem(name),
  setItem(name, value) {
    const trimmed = HISTORY.includes(name) && !keepsHeaders();
    localStorage.setItem(name, trimmed ? withoutHeaders(value) : value);
  },
  removeItem: (name) => localStorage.removeItem(name),
  clear: () => localStorage.clear(),
  get length() {
    return localStorage.length;
  },
};

// The key given in the panel. In memory only: what is stored, any script of this origin can read later.
let apiKey = null;
let tabs = [];

start();

async function start() {
  byId("key-toggle").addEventListener("click", () => showKeyPanel(byId("key").hidden));
  byId("key-form").addEventListener("submit", useKey);
  byId("key-copy").addEventListener("click", copyHeader);
  byId("examples").addEventListener("click", resetExamples);
  [tabs] = await Promise.all([readTabs(), greet()]);
  render();
}

async function readTabs() {
  const response = await fetch("/static/graphiql/tabs.json");
  const examples = await response.json();
  return examples.map(({ query, variables }) => ({
    query: query.join("\n"),
    variables: variables && JSON.stringify(variables, null, 2),
  }));
}

// GraphiQL reads the schema again whenever its fetcher is another one, hence the new function each time.
function render() {
  const props = {
    fetcher: (params, options) => fetcher(params, options),
    defaultTabs: tabs,
    defaultEditorToolsVisibility: "variables",
    storage,
    onEditHeaders: greetAs,
  };
  root.render(React.createElement(GraphiQL, props, React.createElement(GraphiQL.Logo, null, " ")));
}

// --- requests

// GraphiQL's own: a promise of one result, or an observable of many.
function fetcher(params, { headers, documentAST } = {}) {
  const credentials = withKey(headers ?? {});
  if (!isCurrent(params)) return fetcher({ ...params, operationName: undefined }, { headers });
  return isSubscription(documentAST, params) ? subscription(params, credentials) : post(params, credentials);
}

// Just after another tab was chosen, GraphiQL names the operation of the one before.
function isCurrent({ query, operationName }) {
  return !operationName || new RegExp(`^\\s*(query|mutation|subscription)\\s+${operationName}\\b`, "m").test(query);
}

function isSubscription(document, { query, operationName }) {
  if (!document) return /^\s*subscription\b/m.test(query);
  const operations = document?.definitions.filter(({ kind }) => kind === "OperationDefinition") ?? [];
  const chosen = operations.find(({ name }) => name?.value === operationName) ?? operations[0];
  return chosen?.operation === "subscription";
}

async function post(params, headers) {
  const response = await fetch(ENDPOINT, {
    method: "POST",
    credentials: "same-origin",
    headers: { Accept: "application/json", "Content-Type": "application/json", ...headers },
    body: JSON.stringify(params),
  });
  const text = await response.text();
  const result = parse(text) ?? { errors: [{ message: `HTTP ${response.status}: ${text.slice(0, 500)}` }] };
  if (response.status === 401 || isUnauthenticated(result)) showAnonymous();
  return result;
}

// One socket a subscription, because the credential belongs to the socket and each tab may have another.
// No retry: it would begin again without the cursor, and show events twice.
function subscription(params, headers) {
  return {
    subscribe({ next, error, complete }) {
      const client = graphqlWs.createClient({
        url: new URL(ENDPOINT, location.href).href.replace(/^http/, "ws"),
        connectionParams: authorization(headers),
        retryAttempts: 0,
      });
      const sink = { next, complete, error: (reason) => error(readable(reason)) };
      let stop = () => {};
      let stopped = false;
      withNewestJob(params, headers).then((known) => {
        if (!stopped) stop = client.subscribe(known, sink);
      }, error);
      return {
        unsubscribe() {
          stopped = true;
          stop();
          client.dispose();
        },
      };
    },
  };
}

async function withNewestJob(params, headers) {
  if (params.variables?.id !== NEWEST) return params;
  const { data, errors } = await post({ query: NEWEST_JOB }, headers);
  const [job] = data?.jobs.nodes ?? [];
  if (!job) throw new Error(errors?.[0].message ?? "There is no job yet: run the Submit tab first.");
  return { ...params, variables: { ...params.variables, id: job.id } };
}

function authorization(headers) {
  const name = authorizationName(headers);
  return name && { Authorization: headers[name] };
}

function authorizationName(headers) {
  return Object.keys(headers).find((name) => name.toLowerCase() === "authorization");
}

// A tab's own Authorization comes before the panel's key.
function withKey(headers) {
  return apiKey && !authorizationName(headers) ? { ...headers, Authorization: `Bearer ${apiKey}` } : headers;
}

// A socket that is closed gives a CloseEvent, a refused operation a list of GraphQL errors.
function readable(reason) {
  if (!(reason instanceof CloseEvent)) return reason;
  if (reason.code === 4401 || reason.code === 4403) showAnonymous();
  return new Error(`The server closed the connection: ${reason.code} ${reason.reason}`.trim());
}

function isUnauthenticated(result) {
  return (result.errors ?? []).some(({ extensions }) => extensions?.code === "UNAUTHENTICATED");
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// --- who is asking

// True where the credential, or the session, is somebody's.
async function greet(headers = {}) {
  const { data } = await post({ query: WHO }, withKey(headers));
  if (!data?.viewer) {
    showAnonymous();
    return false;
  }
  showWho(`${data.viewer.login} · ${data.viewer.organization.name}`, "chip-good");
  showKeyPanel(false);
  return true;
}

function greetAs(text) {
  const headers = parse(text);
  if (headers && authorizationName(headers)) greet(headers);
}

function showAnonymous() {
  showWho("Not signed in", "chip-warn");
  showKeyPanel(true);
}

function showWho(text, mood) {
  who.textContent = text;
  who.className = `chip ${mood}`;
}

function showKeyPanel(shown) {
  byId("key").hidden = !shown;
  byId("key-toggle").setAttribute("aria-expanded", String(shown));
}

async function useKey(event) {
  event.preventDefault();
  apiKey = byId("key-input").value.trim();
  if (await greet()) {
    render();
    return;
  }
  apiKey = null;
  showWho("That key is not valid", "chip-warn");
}

async function copyHeader() {
  // Absent where the page came over plain HTTP from another host.
  await navigator.clipboard?.writeText(byId("key-header").textContent);
  byId("key-copy").textContent = navigator.clipboard ? "Copied" : "Select and copy it";
}

// --- what is stored

// The user's own choice, in GraphiQL's settings.
function keepsHeaders() {
  return localStorage.getItem(`${STORED}shouldPersistHeaders`) === "true";
}

function withoutHeaders(history) {
  return JSON.stringify(JSON.parse(history), (name, value) => (name === "headers" ? undefined : value));
}

// GraphiQL shows its default tabs only where it has stored none.
function resetExamples() {
  if (!confirm("Close all tabs and open the examples again?")) return;
  for (const name of ["tabState", "query", "variables", "headers"]) localStorage.removeItem(STORED + name);
  location.reload();
}
