(function_declaration name: (_) @name) @function
(assignment_statement (variable_list name: (_) @name) (expression_list value: (function_definition))) @function
(function_call name: (identifier) @callee arguments: (_) @arguments) @call
(function_call name: (dot_index_expression table: (_) @receiver field: (_) @callee) arguments: (_) @arguments) @call
(function_call name: (method_index_expression table: (_) @receiver method: (_) @callee) arguments: (_) @arguments) @call
(variable_declaration (assignment_statement (expression_list value: (function_call name: (identifier) @_require (#eq? @_require "require"))))) @import
