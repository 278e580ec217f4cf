"""What `zoo tune` is made of: where values are looked for, the study that remembers, the recipe file that comes out."""
