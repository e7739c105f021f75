"""ppeconv inside other libraries, each of which is imported only when its module here is."""
