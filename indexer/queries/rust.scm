(function_item name: (identifier) @name) @function
(struct_item name: (type_identifier) @name) @class
(enum_item name: (type_identifier) @name) @class
(trait_item name: (type_identifier) @name) @class
(impl_item type: (_) @name) @scope
(mod_item name: (identifier) @name body: (_)) @scope
(call_expression function: (identifier) @callee arguments: (_) @arguments) @call
(call_expression function: (field_expression value: (_) @receiver field: (_) @callee) arguments: (_) @arguments) @call
(call_expression function: (scoped_identifier path: (_) @receiver name: (identifier) @callee) arguments: (_) @arguments) @call
(macro_invocation macro: (identifier) @callee (token_tree) @arguments) @call
(macro_invocation macro: (scoped_identifier path: (_) @receiver name: (identifier) @callee) (token_tree) @arguments) @call
(use_declaration) @import
(mod_item !body) @import
