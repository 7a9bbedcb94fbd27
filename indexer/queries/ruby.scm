(method name: (_) @name) @function
(singleton_method name: (_) @name) @function
(class name: (_) @name superclass: (_)? @bases) @class
(module name: (_) @name) @class
(call !receiver method: (_) @callee arguments: (_)? @arguments) @call
(call receiver: (_) @receiver method: (_) @callee arguments: (_)? @arguments) @call
(call !receiver method: (identifier) @_require (#match? @_require "^require(_relative)?$")) @import
