"""Python code inside a model: reused live, never written out and read back.

A model in memory may hold functions and classes that Keras' configs cannot
carry: Lambda layers, activations of the user's own, unregistered layers and
regularizers. The config gets a name instead, under which
`custom_object_scope` finds the very same object.
"""

import inspect

import keras


class LiveCode:
    """Names for the code inside one model.

    Attributes:
        objects: `{name: class or function}` for `custom_object_scope`.
    """

    def __init__(self):
        self.objects = {}
        self._names = {}

    def insert(self, layer, entry):
        """Puts names for a layer's code into its entry in a model's config.

        Args:
            layer: the live layer, nested model or other object of Keras.
            entry: `{"class_name": …, "config": …, …}`; changed.
        """
        if not is_keras(type(layer)):
            name = self._name(type(layer))
            entry.update(class_name=name, registered_name=name, module=None)
        config = entry["config"]
        for key, value in config.items():
            live = getattr(layer, key, None)
            if inspect.isroutine(live):
                if not is_keras(live) and _stands_for(value, layer):
                    config[key] = self._function(live)
            elif _describes(value, live):  # A regularizer, a wrapped layer.
                self.insert(live, value)
        if isinstance(layer, keras.Sequential) or "input_layers" in config:
            inner = {x.name: x for x in getattr(layer, "layers", ())}
            for value in config.get("layers", ()):
                name = value["config"]["name"]
                if _describes(value, inner.get(name)):
                    self.insert(inner[name], value)

    def _function(self, function):
        return {
            "module": "builtins",
            "class_name": "function",
            "config": self._name(function),
            "registered_name": "function",
        }

    def _name(self, thing):
        """A name that no other class or function has, nor one of Keras'."""
        if thing not in self._names:
            name = f"{thing.__name__}:{len(self._names)}"
            self._names[thing] = name
            self.objects[name] = thing
        return self._names[thing]


def _stands_for(value, layer):
    """Whether a value in a layer's config is what Keras wrote for a function.

    Its own layers read back a function wherever they wrote one, in whatever
    form; a layer of the user's own may expect its argument, a name perhaps.
    """
    return is_keras(type(layer)) or _class_name(value) in (
        "function",
        "__lambda__",
    )


def _describes(value, live):
    """Whether a value in a config is what Keras wrote for an object."""
    return _class_name(value) == type(live).__name__ and isinstance(
        value.get("config"), dict
    )


def _class_name(value):
    return value.get("class_name") if isinstance(value, dict) else None


def is_keras(thing):
    """Whether a class, function or object comes with Keras itself."""
    module = getattr(thing, "__module__", None) or ""
    return module.split(".")[0] == "keras"
