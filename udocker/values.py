"""Frozen values, declared as with ``dataclasses`` but without what that costs at every start.

``dataclasses`` imports inspect and compiles six functions a class: for 20 classes a third of the time that
starting a container took.  What a warm ``udocker run`` imports declares its values by this module.  To type
checkers, and to ``dataclasses.replace``, ``fields`` and ``asdict``, they are dataclasses; of its features
there are those that are used: ``frozen``, ``order``, defaults, and ``field``.
"""

from __future__ import annotations

import functools

TYPE_CHECKING = False  # type checkers know the name; importing typing for it takes longer than this package
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    _NOTHING = object()

    class field:
        """A field with its default, if it has one, and whether it is shown and compared."""

        def __init__(self, *, default=_NOTHING, default_factory=None, repr=True, compare=True):
            self.default, self.default_factory = default, default_factory
            self.repr, self.compare = repr, compare

    def replace(value, **changes):
        """A copy of ``value`` with some fields changed; raises TypeError for a field that it has not."""
        return type(value)(**{**{name: getattr(value, name) for name in value.__match_args__}, **changes})

    def dataclass(*, frozen, order=False):
        """Make a class of annotated names a value; what it defines itself stays."""
        assert frozen, "there are frozen values only"

        def decorate(cls):
            fields = {name: _field(cls, name) for name in cls.__dict__.get("__annotations__", {})}
            cls.__match_args__ = tuple(fields)
            cls.__dataclass_fields__ = _AsDataclass(fields)
            for name, method in _methods(cls, fields).items():
                if name not in cls.__dict__ and (order or name != "__lt__"):
                    setattr(cls, name, method)
            return functools.total_ordering(cls) if order else cls

        return decorate

    def _field(cls, name):
        given = cls.__dict__.get(name, _NOTHING)
        if not isinstance(given, field):
            return field(default=given)
        if given.default is _NOTHING:
            delattr(cls, name)
        else:
            setattr(cls, name, given.default)
        return given

    class _AsDataclass:
        """What ``dataclasses`` asks a class for, made when it asks."""

        def __init__(self, fields):
            self._fields = fields

        def __get__(self, _value, cls):
            import dataclasses

            def convert(one):
                default = {} if one.default is _NOTHING else {"default": one.default}
                if one.default_factory:
                    default["default_factory"] = one.default_factory
                return dataclasses.field(repr=one.repr, compare=one.compare, **default)

            described = [
                (name, cls.__annotations__[name], convert(one)) for name, one in self._fields.items()
            ]
            return dataclasses.make_dataclass(cls.__name__, described).__dataclass_fields__

    def _methods(cls, fields):
        names = cls.__match_args__
        defaults = {name: one.default for name, one in fields.items() if one.default is not _NOTHING}
        factories = {name: one.default_factory for name, one in fields.items() if one.default_factory}
        shown = [name for name in names if fields[name].repr]
        compared = [name for name in names if fields[name].compare]

        def initialise(self, *values, **named):
            given = {**defaults, **dict(zip(names, values)), **named}
            if factories:
                given.update({name: make() for name, make in factories.items() if name not in given})
            twice = named.keys() & names[: len(values)]
            if len(values) > len(names) or twice or given.keys() != fields.keys():
                raise TypeError(f"{cls.__name__}({', '.join(names)}): not with {values} and {named}")
            self.__dict__.update(given)

        def show(self):
            inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
            return f"{type(self).__qualname__}({inside})"

        def key(self):
            return tuple([getattr(self, name) for name in compared])

        def is_equal(self, other):
            return key(self) == key(other) if type(other) is type(self) else NotImplemented

        def is_less(self, other):
            return key(self) < key(other) if type(other) is type(self) else NotImplemented

        def refuse(self, name, *_):
            raise AttributeError(f"{cls.__name__}.{name}: values are frozen")

        return {
            "__init__": initialise,
            "__repr__": show,
            "__eq__": is_equal,
            "__lt__": is_less,
            "__hash__": lambda self: hash(key(self)),
            "__setattr__": refuse,
            "__delattr__": refuse,
        }
