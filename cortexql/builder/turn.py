"""One look at a source: what changed is built and pushed, and the catalogue written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import get_args

from cortexql.builder import catalogue
from cortexql.builder.checkout import BuildError, Tree
from cortexql.builder.engine import Engine
from cortexql.builder.recipes import Naming, Recipe, Unbuildable, list_all
from cortexql.catalog.definition import Kind


class State(StrEnum):
    BUILT = "built"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one definition: its image, or its file where there is no more; why it failed."""

    state: State
    label: str
    reason: str = ""


Tell = Callable[[Result], None]


@dataclass(slots=True)
class Builder:
    """Builds a source's images, again and again; of two that run at once on one engine the later one wins.

    `rebuild`: once each, even what did not change, on the newest base images.
    """

    engine: Engine
    naming: Naming
    output: Path
    push: bool = False
    rebuild: bool = False
    # References and fingerprints that are as they should be, on the engine and in the registry.
    _done: set[tuple[str, str]] = field(default_factory=set)

    def turn(self, tree: Tree, tell: Tell) -> list[Path]:
        """Build what is to be built, telling of each definition as it is done; return the catalogues written.

        A definition that fails keeps its last entry in the catalogue, and the image of that; where all of a kind fail,
        its catalogue stays as it is.
        """
        built: dict[Kind, list[Recipe]] = {kind: [] for kind in get_args(Kind)}
        broken: dict[Kind, set[str | None]] = {kind: set() for kind in get_args(Kind)}
        for found, result in self._results(tree):
            tell(result)
            if isinstance(found, Unbuildable):
                broken[found.kind].add(found.name)
            elif result.state is State.FAILED:
                broken[found.definition.kind].add(found.definition.name)
            else:
                built[found.definition.kind].append(found)
        kinds = [kind for kind in built if (tree.folder / f"{kind}s").is_dir()]
        paths = {kind: self.output / f"{kind}s.json" for kind in kinds}
        return [paths[kind] for kind in kinds if catalogue.write(paths[kind], built[kind], broken[kind])]

    def _results(self, tree: Tree) -> Iterator[tuple[Recipe | Unbuildable, Result]]:
        for found in list_all(tree.folder, self.naming):
            if isinstance(found, Unbuildable):
                label = f"{found.path.relative_to(tree.folder)}"
                yield found, Result(State.FAILED, label, found.reason)
                continue
            try:
                is_new = self._make(found, tree.revision)
            except BuildError as error:
                yield found, Result(State.FAILED, found.reference, str(error))
                continue
            yield found, Result(State.BUILT if is_new else State.UNCHANGED, found.reference)

    def _make(self, recipe: Recipe, revision: str | None) -> bool:
        key = (recipe.reference, recipe.fingerprint)
        is_new = (self.rebuild and key not in self._done) or not self.engine.is_built(recipe)
        if is_new:
            self.engine.build(recipe, revision, afresh=self.rebuild)
        if self.push and (is_new or key not in self._done):
            self.engine.push(recipe)
        self._done.add(key)
        return is_new
