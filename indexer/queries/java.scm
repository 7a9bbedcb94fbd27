(class_declaration name: (identifier) @name superclass: (_)? @bases interfaces: (_)? @bases) @class
(interface_declaration name: (identifier) @name) @class
(enum_declaration name: (identifier) @name) @class
(record_declaration name: (identifier) @name) @class
(method_declaration name: (identifier) @name) @function
(constructor_declaration name: (identifier) @name) @function
(method_invocation !object name: (identifier) @callee arguments: (_) @arguments) @call
(method_invocation object: (_) @receiver name: (identifier) @callee arguments: (_) @arguments) @call
(object_creation_expression type: (_) @callee arguments: (_) @arguments) @call
(import_declaration) @import
(throw_statement) @raise
