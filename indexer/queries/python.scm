(function_definition name: (identifier) @name) @function
(class_definition name: (identifier) @name superclasses: (argument_list)? @bases) @class
(call function: (identifier) @callee arguments: (_) @arguments) @call
(call function: (attribute object: (_) @receiver attribute: (identifier) @callee) arguments: (_) @arguments) @call
(import_statement) @import
(import_from_statement) @import
(raise_statement) @raise
