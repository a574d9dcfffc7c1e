//! The AWS wire: the service model's table, validation, shapes, errors and SigV4. No I/O.
