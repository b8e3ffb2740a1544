"""Views, one to a number key, and the pages that open from them."""
