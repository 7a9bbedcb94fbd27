(function_definition name: (word) @name) @function
(command name: (command_name (word) @callee)) @call
