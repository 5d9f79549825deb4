"""What every HTTP room shares: authentication, errors, ETags, pages, OpenAPI."""
