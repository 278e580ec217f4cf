"""The images of one stored run, and the page that shows them."""
