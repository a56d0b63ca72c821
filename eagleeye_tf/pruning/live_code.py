"""Python code inside a model: reused live, never written out and read back.

A model in memory may hold functions and classes that Keras' configs cannot
carry: Lambda layers, activations of the user's own, unregistered layers. The
config gets a name instead, under which `custom_object_scope` finds the very
same object.
"""

from eagleeye_tf.pruning import network


class LiveCode:
    """Names for the code inside one model.

    Attributes:
        objects: `{name: class or function}` for `custom_object_scope`.
    """

    def __init__(self, model):
        self.objects = {}
        self._functions = {}
        for path, layer in network.all_layers(model):
            self._add_class(type(layer))
            for key in ("activation", "function"):
                function = getattr(layer, key, None)
                if callable(function) and not is_keras(function):
                    self._functions.setdefault(path, {})[key] = function
        for nested in _nested_models(model):
            self._add_class(type(nested))

    def insert(self, path, config):
        """Puts names for functions into the config of layer `path`."""
        for key, function in self._functions.get(path, {}).items():
            if key not in config:
                continue
            name = f"{path}:{key}"
            self.objects[name] = function
            config[key] = {
                "module": "builtins",
                "class_name": "function",
                "config": name,
                "registered_name": "function",
            }

    def _add_class(self, cls):
        if not is_keras(cls):
            self.objects[cls.__name__] = cls


def is_keras(thing):
    """Whether a class or function comes with Keras itself."""
    module = getattr(thing, "__module__", None) or ""
    return module.split(".")[0] == "keras"


def _nested_models(model):
    yield model
    for layer in model.layers:
        if network.is_functional(layer):
            yield from _nested_models(layer)
