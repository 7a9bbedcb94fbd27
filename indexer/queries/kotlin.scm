(class_declaration (type_identifier) @name (delegation_specifier)? @bases) @class
(object_declaration (type_identifier) @name) @class
(function_declaration (simple_identifier) @name) @function
(call_expression (simple_identifier) @callee (call_suffix) @arguments) @call
(call_expression (navigation_expression (_) @receiver (navigation_suffix (simple_identifier) @callee)) (call_suffix) @arguments) @call
(import_header) @import
(jump_expression) @raise
