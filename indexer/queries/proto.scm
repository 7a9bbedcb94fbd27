(message (message_name) @name) @class
(enum (enum_name) @name) @class
(service (service_name) @name) @class
(rpc (rpc_name) @name) @function
(import) @import
