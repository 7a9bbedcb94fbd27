(statement (create_table (object_reference) @name)) @block
(statement (create_view (object_reference) @name)) @block
(statement (create_function (object_reference) @name)) @function
(statement (alter_table (object_reference) @name)) @block
