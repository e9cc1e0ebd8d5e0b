"""What an activity reads and makes: datasets, features, models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from provml_hpc import records, vocabulary
from provml_hpc.capture import entity as entities
from provml_hpc.capture import people
from provml_hpc.capture.entity import Entity
from provml_hpc.capture.node import SECTION, Node, never_stops
from provml_hpc.content import StatKey
from provml_hpc.errors import UsageError
from provml_hpc.values import clean_text

_NUMBERS = re.compile(r"[-+]?\d+(?:[.:eE_+-]+\d+)*")


Characteristics: TypeAlias = "str | Mapping[str, Any] | list[Any] | tuple[Any, ...] | None"
"""Facts, the name of a reader that finds some, or several of these."""


class Data(Node):
    """The part of an activity that names data; see :class:`~provml_hpc.capture.activity.Activity`."""

    @never_stops
    def use(self, entity: Any) -> None:
        """Say that this activity reads something: entities or paths, or a mapping from roles to them."""
        for thing, role in entities.listed(entity):
            self._write_use(self._resolve(thing), role)

    @never_stops
    def use_dataset(
        self,
        source: Any,
        *,
        role: str | None = None,
        select: Any = None,
        characteristics: Characteristics = None,
        digest: Any = None,
        label: str | None = None,
        persona: Any = None,
    ) -> Entity:
        """Declare data and say that this activity reads it.

        Parameters
        ----------
        source
            A path of a file or directory, an address (``s3://...``), an array, or an entity.
        role
            What part it plays here: ``"training"``, ``"test"``.
        select
            The part of it that is meant, as text.
        characteristics
            Facts about it: samples, extent, variables. ``"auto"`` has a reader that knows its format find them, beside
            the job and by the next flush point (:mod:`provml_hpc.readers`); another text names the reader. A list of
            both says more: ``["auto", {"survey": "F3"}]``.
        digest
            A digest that is known already (``"sha256:..."``; the file is then not read), True for the digest of all
            bytes however large, False for none.
        label
            What to call it; by default its path as given.
        persona
            Whose work it is (prov:wasAttributedTo), as for :meth:`persona`.
        """
        if isinstance(source, Entity):
            made = self._resolve(source)
        else:
            cls = "LearningDataset" if self._session.meta["phase"] == "learning" else "Dataset"
            made = self._declare(
                cls, entities.look(source), select=select, digest=digest, whole=digest is True, label=label
            )
        self._characterise(made, characteristics)
        self._attribute(made, persona)
        self._write_use(made, role)
        return made

    @never_stops
    def use_model(
        self, source: Any, *, role: str | None = None, label: str | None = None, persona: Any = None
    ) -> Entity:
        """Declare a model that is there already and say that this activity reads it; arguments as for a dataset."""
        made = (
            self._resolve(source)
            if isinstance(source, Entity)
            else self._declare("Model", entities.look(source), label=label)
        )
        self._attribute(made, persona)
        self._write_use(made, role)
        return made

    @never_stops
    def generate_dataset(
        self,
        path: Any,
        *,
        derived_from: Any = (),
        member_of: Any = None,
        characteristics: Characteristics = None,
        digest: Any = None,
        label: str | None = None,
        persona: Any = None,
    ) -> Entity:
        """Say that this activity makes a dataset. Its file is looked at, and digested, when the activity ends.

        Parameters
        ----------
        path
            Where it is, or will be by the end of the activity; an array or a reference will do.
        derived_from
            What it was made from, as for ``use``; never guessed.
        member_of
            The dataset that it is a shard of: its path or name, the same on all ranks, or an entity.
        characteristics, digest, label, persona
            As for :meth:`use_dataset`.
        """
        cls = "Dataset" if self._session.meta["phase"] == "curation" else "LearningDataset"
        return self._generate(cls, path, derived_from, member_of, characteristics, digest, label, persona)

    @never_stops
    def generate_features(
        self,
        path: Any,
        *,
        derived_from: Any = (),
        member_of: Any = None,
        characteristics: Characteristics = None,
        digest: Any = None,
        label: str | None = None,
        persona: Any = None,
    ) -> Entity:
        """Say that this activity makes features (FeatureSetData); arguments as for :meth:`generate_dataset`."""
        return self._generate("FeatureSetData", path, derived_from, member_of, characteristics, digest, label, persona)

    @never_stops
    def log_model(
        self,
        path: Any,
        *,
        params: Mapping[str, Any] | None = None,
        step: int | None = None,
        derived_from: Any = (),
        digest: Any = None,
        label: str | None = None,
        persona: Any = None,
    ) -> Entity:
        """Say that this activity makes a model, or a checkpoint of one.

        Its file is digested when the innermost open section ends, or the activity if none is open.

        Checkpoints of one model in one training are revisions, each of the one before, unless `derived_from` says
        where one comes from. Models whose names differ in more than numbers are different models (``generator-10.pt``
        and ``discriminator-10.pt``), and so are those of different folds, splits, trials, repeats, seeds or candidates.

        Parameters
        ----------
        path
            Where it is, or will be by the end of the section.
        params
            Model hyperparameters: layers, units.
        step
            The training step it was written at.
        derived_from
            The models or data it was made from.
        digest, label, persona
            As for :meth:`use_dataset`.
        """
        made, sources = self._made_from("Model", path, derived_from, digest, label, persona, step=step)
        stage, chain = self._stage(), self._chain(made.label)
        before = stage._last_models.get(chain) if stage._class == "TrainingExecution" else None
        if before is not None and not sources:
            self._session.write(records.Derived(made.handle, before.handle, 1))
        stage._last_models[chain] = made
        stage._checkpoints.append((chain, made))
        stage._write_named("ModelHyperparameterValue", made.handle, True, self._flatten(params, "params"))
        return made

    def _chain(self, label: str) -> tuple[str, ...]:
        """Return what tells the models of a training apart: the name without its numbers, and the runs-apart sections.

        What is between numbers goes with them (``0.5``, ``1e-05``, ``2026-11-25``), so that a loss or a time in a
        checkpoint's name, whatever it comes to, makes no other model of it.
        """
        apart = []
        node: Node | None = self._innermost()
        while node is not None and node._class == SECTION:
            if node._name.rpartition(" ")[0].lower() in vocabulary.APART:
                apart.append(node._name)
            node = node._parent
        return _NUMBERS.sub("#", label), *apart

    def _resolve(self, thing: Any, *, model: bool = False) -> Entity:
        """Return the entity for a handle or a path; a path means the version that this run knows."""
        if isinstance(thing, Entity):
            if not thing.belongs_to(self._session):
                if thing.path is None:
                    raise UsageError(
                        f"{thing!r} belongs to another run; declare it here with use_dataset() or use_model()"
                    )
                return self._resolve(thing.path, model=model)
            return thing
        found = entities.look(thing)
        known = self._session.known.get(found.key.path) if found.key else None
        if known is not None and (found.missing or known.key == found.key):
            return known
        if found.missing and not self._session.transport.size > 1:
            raise UsageError(
                f"{found.label}: {found.missing}; name a file that is there, or the entity that was returned for it"
            )
        if found.key is None:
            return self._declare("LearningDataset" if self._session.meta["phase"] == "learning" else "Dataset", found)
        return self._declare("Model" if model else "", found)

    def _declare(
        self,
        cls: str,
        found: entities.Named,
        *,
        generated: bool = False,
        whole: bool = False,
        digest: Any = None,
        **fields: Any,
    ) -> Entity:
        session = self._session
        target = self._innermost()
        if found.missing and not generated and cls:  # a bare path may be another rank's file, seen before it got here
            session.drop(
                target._handle,
                "missing file",
                found.label,
                f"{found.label}: {found.missing}; it is recorded without its content",
            )
        record = entities.declared(cls, target._handle, found, generated=generated, digest=digest, **fields)
        if generated and found.key is not None:
            self._supersede(found.key)
        handle = session.write(record)
        read = digest in (None, True) and found.digest is None
        made = Entity(session, handle, record.label, found.key, generated=generated, whole=whole, read=read)
        if found.key is not None:
            session.known[found.key.path] = made
            if generated:
                target._made.append(made)
            if read and not found.missing:
                session.digester.want(found.key, whole=whole, at_once=generated and target._own)
        return made

    def _supersede(self, now: StatKey) -> None:
        """Settle what was made under this path before: from here on the file is another one.

        It is taken as it was when it was declared, since by now it is usually written over.
        """
        node: Node | None = self._innermost()
        while node is not None:
            for made in [one for one in node._made if one.path == now.path]:
                node._made.remove(made)
                node._settle_one(made, made.key if made.key is not None and made.key.mtime_ns else now)
            node = node._parent

    def _use(self, use: Any) -> None:
        try:
            for thing, role in entities.listed(use):
                self._write_use(self._resolve(thing), role)
        except Exception as error:
            self._session.drop(self._handle, "unrecordable", "use")
            self._session.trouble(f"use: {error}", error)

    def _write_use(self, thing: Entity, role: Any) -> None:
        if thing.handle:
            text = "" if role is None else clean_text(str(role))
            self._session.write(records.Used(self._innermost()._handle, thing.handle, text))
            stage = self._stage()
            for chain, one in stage._checkpoints:
                if thing is one or (thing.key is not None and thing.key == one.key):
                    stage._last_models[chain] = one  # restored: what is saved next comes from it

    def _characterise(self, made: Entity, characteristics: Characteristics) -> None:
        single = isinstance(characteristics, (str, Mapping)) or characteristics is None
        readers: list[str] = []
        for one in [characteristics] if single else cast("list[Any]", characteristics):
            if isinstance(one, str):
                readers.append(one)
            else:
                self._write_named("DatasetCharacteristic", made.handle, False, self._flatten(one, "characteristics"))
        if made.generated and made in self._innermost()._made:
            made.readers = (*made.readers, *readers)  # its file is there when the activity has ended
        else:
            self._innermost()._describe(made, readers)

    def _attribute(self, made: Entity, persona: Any) -> None:
        if persona is not None and made.handle:
            self._session.write(people.named(self._innermost()._handle, persona, entity=made.handle))

    def _generate(
        self,
        cls: str,
        path: Any,
        derived_from: Any,
        member_of: Any,
        characteristics: Characteristics,
        digest: Any,
        label: str | None,
        persona: Any,
    ) -> Entity:
        made, _ = self._made_from(cls, path, derived_from, digest, label, persona)
        self._characterise(made, characteristics)
        if member_of is not None:
            known = isinstance(member_of, Entity) and member_of.belongs_to(self._session)
            whole = member_of if known else self._collection(cls, member_of)
            self._session.write(records.Member(whole.handle, made.handle))
        return made

    def _made_from(
        self, cls: str, path: Any, derived_from: Any, digest: Any, label: str | None, persona: Any, **fields: Any
    ) -> tuple[Entity, list[Entity]]:
        """Declare what this activity makes, and return it with what it was said to be made from."""
        sources = [self._resolve(thing) for thing, _ in entities.listed(derived_from)]
        found = entities.Named(path.label) if isinstance(path, Entity) and path.key is None else None
        made = self._declare(
            cls,
            found or entities.look(path.path if isinstance(path, Entity) else path),
            generated=True,
            digest=digest,
            whole=digest is True,
            label=label,
            **fields,
        )
        for source in sources:
            self._session.write(records.Derived(made.handle, source.handle, 0))
        self._attribute(made, persona)
        return made, sources

    def _collection(self, cls: str, name: Any) -> Entity:
        """Return the dataset that ranks add shards to, by its path or name; it is nobody's product as a whole."""
        found = entities.look(name.path or name.label if isinstance(name, Entity) else name)
        path = found.key.path if found.key else found.label
        if path not in self._session.collections:
            key = StatKey(path, 0, 0, 0, 0, True)
            record = entities.declared(cls, self._handle, found._replace(key=key), collection=True)
            handle = self._session.write(record)
            self._session.collections[path] = Entity(self._session, handle, found.label, None)
        return self._session.collections[path]
