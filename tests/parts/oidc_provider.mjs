// An OpenID Connect provider of the tests' own: panva's certified one, with accounts and a client from the command line.
import { Provider } from "oidc-provider";

const { issuer, port, client, accounts } = JSON.parse(process.argv[2]);

const provider = new Provider(issuer, {
  clients: [client],
  claims: {
    openid: ["sub"],
    profile: ["name", "preferred_username"],
    email: ["email", "email_verified"],
    groups: ["groups"],
  },
  cookies: { keys: ["of the tests"] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  pkce: { required: () => true },
  async findAccount(_, id) {
    const claims = accounts[id];
    return claims && { accountId: id, claims: async () => ({ sub: id, ...claims }) };
  },
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));
