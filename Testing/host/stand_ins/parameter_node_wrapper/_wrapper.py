"""The wrapper itself: members of a class become parameters of a `vtkMRMLScriptedModuleNode`."""

import logging
import weakref

import qt
import slicer
import vtk

from ._gui import GuiConnector, createGuiConnector
from ._packs import data_type, members
from ._storage import store
from ._types import Default

_WIDGET_PROPERTY = "SlicerParameterName"


def parameterNodeWrapper(classtype=None):
    """Make a class with annotations a parameter node wrapper (with or without brackets)."""
    return _wrap if classtype is None else _wrap(classtype)


def isParameterNodeWrapper(classOrObj):
    """Say whether a class or object is a parameter node wrapper."""
    return bool(getattr(classOrObj, "_is_parameter_node_wrapper", False))


def findChildWidgetForParameter(widget, parameter):
    """Return the child widget that shows a parameter, or None."""
    for child in widget.findChildren(qt.QWidget):
        if child.property(_WIDGET_PROPERTY) == parameter:
            return child
    return None


def _wrap(cls):
    parameters = members(cls)
    _warn_of_unused(cls, parameters)
    for name in parameters:
        setattr(cls, name, _property(name))
    for name, value in _interface(cls, parameters).items():
        if hasattr(cls, name):
            raise ValueError(f"a parameter cannot be called {name!r}")
        setattr(cls, name, value)
    cls.__init__ = _start
    return cls


def _warn_of_unused(cls, parameters):
    known = ("Default", "Decimals", "SingleStep")
    for name, member in parameters.items():
        unused = [
            one
            for one in getattr(member.unalteredType, "__metadata__", ())
            if not hasattr(one, "validate") and type(one).__name__ not in known
        ]
        if unused:
            logging.warning("%s.%s: unused annotations %s", cls.__name__, name, unused)


def _property(name):
    return property(lambda self: self._state.read(name), lambda self, v: self._state.write(name, v))


def _interface(cls, parameters):
    """Return what every wrapper can do besides its parameters."""
    return {
        "allParameters": parameters,
        "_is_parameter_node_wrapper": True,
        "dataType": staticmethod(lambda name: data_type(parameters, name)),
        "default": _default,
        "isCached": _is_cached,
        "getValue": _get_value,
        "setValue": _set_value,
        "connectGui": _connect_gui,
        "connectParametersToGui": _connect_parameters,
        "disconnectGui": _disconnect_gui,
        "StartModify": lambda self: self.parameterNode.StartModify(),
        "EndModify": lambda self, before: self.parameterNode.EndModify(before),
        "Modified": lambda self: self.parameterNode.Modified(),
        "AddObserver": lambda self, event, callback, priority=0.0: self.parameterNode.AddObserver(
            event, callback, priority
        ),
        "RemoveObserver": lambda self, tag: self.parameterNode.RemoveObserver(tag),
    }


class _State:
    """The values of one wrapper: read again whenever the node says that it changed.

    As in Slicer, a value does not follow the node between StartModify and EndModify, and the
    wrapper notices a change before anyone who observes the node later.
    """

    def __init__(self, node, parameters, prefix):
        self.node = node
        self._parameters = parameters
        self._prefix = prefix or ""
        self._writing = False
        for name, one in parameters.items():
            if not one.store.has(node, self._prefix + name):
                store(one.store, node, self._prefix + name, one.default.value)
        self._values = {}
        self._read_all()
        me = weakref.ref(self)
        tag = node.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: me() and me()._on_modified()
        )
        weakref.finalize(self, node.RemoveObserver, tag).atexit = False

    def read(self, name):
        return self._values[name]

    def write(self, name, value):
        one = self._parameters[name]
        self._writing = True
        try:
            one.store.check(value)
            # The cache must be right before the observers of the node hear of the change.
            with slicer.util.NodeModify(self.node):
                self._values[name] = store(one.store, self.node, self._prefix + name, value)
        finally:
            self._writing = False

    def _on_modified(self):
        if not self._writing:
            self._read_all()

    def _read_all(self):
        for name, one in self._parameters.items():
            key = self._prefix + name
            if one.store.has(self.node, key):
                self._values[name] = one.store.read(self.node, key)
            else:
                self._values[name] = store(one.store, self.node, key, one.default.value)


def _start(self, parameterNode, prefix=None):
    """Wrap a node; values it already has are kept, the others get their defaults."""
    self.parameterNode = parameterNode
    self._state = _State(parameterNode, self.allParameters, prefix)
    self._guis = {}
    self._next_gui = 0
    self._updating_gui = False


def _default(self, paramName) -> Default:
    self.dataType(paramName)
    return self.allParameters[paramName].default


def _is_cached(self, paramName):
    self.dataType(paramName)
    return True


def _get_value(self, name):
    self.dataType(name)
    top, _, rest = name.partition(".")
    value = self._state.read(top)
    return value.getValue(rest) if rest else value


def _set_value(self, name, value):
    self.dataType(name)
    top, _, rest = name.partition(".")
    if rest:
        self._state.read(top).setValue(rest, value)
    else:
        self._state.write(top, value)


def _connect_gui(self, gui):
    """Connect every widget that has the property SlicerParameterName; returns a tag.

    Args:
        gui: a widget with children, or an object whose attributes are widgets.

    Raises:
        ValueError: a widget names a parameter that does not exist.
        RuntimeError: a widget cannot show the type of its parameter.
    """
    if getattr(gui, "isWidgetType", lambda: False)():
        widgets = gui.findChildren(qt.QWidget)
    else:
        widgets = list(vars(gui).values())
    named = {widget.property(_WIDGET_PROPERTY): widget for widget in widgets}
    return _connect_parameters(self, {name: widget for name, widget in named.items() if name})


def _connect_parameters(self, mapping):
    types = {name: self.dataType(name) for name in mapping}
    connectors = {
        name: one if isinstance(one, GuiConnector) else createGuiConnector(one, types[name])
        for name, one in mapping.items()
    }
    for name, connector in connectors.items():
        connector.write(self.getValue(name))
        connector.onChanged(_from_gui(self, name, connector))
    observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _update_guis(self))
    tag = self._next_gui
    self._next_gui += 1
    self._guis[tag] = (connectors, observer)
    return tag


def _disconnect_gui(self, guiTag):
    connectors, observer = self._guis.pop(guiTag, ({}, None))
    for connector in connectors.values():
        connector.onChanged(None)
    if observer is not None:
        self.RemoveObserver(observer)


def _from_gui(self, name, connector):
    def changed():
        with slicer.util.NodeModify(self):
            if not self._updating_gui:
                self.setValue(name, connector.read())

    return changed


def _update_guis(self):
    if self._updating_gui:
        return
    self._updating_gui = True
    try:
        with slicer.util.NodeModify(self):
            for connectors, _ in list(self._guis.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
    finally:
        self._updating_gui = False
