"""`zoo show`."""

from __future__ import annotations

import click

from zoo.cli import options


@click.command()
@click.argument("model", shell_complete=options.complete_models)
@click.option("--classes", type=click.IntRange(2, 10_000), default=10, show_default=True, help="Number of classes.")
@options.registry
def show(model: str, classes: int, registry: str | None) -> None:
    """Show the layers of MODEL: types, output shapes, parameters and sizes."""
    from zoo.registry.merge import load_registry
    from zoo.registry.model import is_built_in

    loaded = load_registry(registry)
    resolved = loaded.resolve(model)

    import torch

    from zoo.builder import notes
    from zoo.builder.alike import alike
    from zoo.builder.construct import build, where_of
    from zoo.builder.fairness import check_step
    from zoo.engine.guard import guarded
    from zoo.engine.summary import IMAGE_SHAPE, layer_table
    from zoo.registry.alike import sentence
    from zoo.render.fit import fit, width, wrap

    module, where = build(resolved, num_classes=classes), where_of(resolved)
    with guarded(where, f"a training step on images of shape {IMAGE_SHAPE}"):
        check_step(where, module, torch.rand(2, *IMAGE_SHAPE))
        table = layer_table(module)
    rows = [
        {
            "#": str(number), "layer": layer.name, "type": layer.kind,
            "output shape": f"[{', '.join(map(str, (-1, *layer.output)))}]", "parameters": f"{layer.parameters:,}",
        }
        for number, layer in enumerate(table.layers, 1)
    ]  # fmt: skip
    click.echo(fit(rows, ("layer", "type", "output shape"), width()))
    said = notes.of(module)
    if resolved.norm:
        built_in = [norm for norm in loaded.norms.values() if is_built_in(norm.origin)]
        layers, same = alike(module, resolved.norm, built_in)
        places = {other: [f"{count} of {layers} norm layers"] for other, count in same.items()}
        said += [sentence(resolved.norm.name, other, counts) for other, counts in places.items()]
    frozen = table.parameters - table.trainable_parameters
    click.echo(
        f"\n{model}: {resolved.label}\n"
        + "".join(f"{line}\n" for note in said for line in wrap(note, width(), "  "))
        + f"total parameters:         {table.parameters:,}\n"
        f"trainable parameters:     {table.trainable_parameters:,}\n"
        f"non-trainable parameters: {frozen:,}\n\n"
        f"input size (MB):            {table.input_size:.2f}\n"
        f"forward/backward size (MB): {table.forward_backward_size:.2f}\n"
        f"parameter size (MB):        {table.parameter_size:.2f}\n"
        f"estimated total size (MB):  {table.total_size:.2f}"
    )
