"""Applications for the tests; each module has one called `application`, for any server."""
