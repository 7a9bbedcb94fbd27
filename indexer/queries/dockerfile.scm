(from_instruction (image_spec) @name) @block
