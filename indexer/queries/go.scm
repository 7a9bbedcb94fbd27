(function_declaration name: (identifier) @name) @function
(method_declaration receiver: (parameter_list) @owner name: (field_identifier) @name) @function
(type_spec name: (type_identifier) @name) @class
(call_expression function: (identifier) @callee arguments: (_) @arguments) @call
(call_expression function: (selector_expression operand: (_) @receiver field: (field_identifier) @callee) arguments: (_) @arguments) @call
(import_spec) @import
