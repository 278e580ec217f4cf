"""The trial of a model before it is trained: all that its run will do to it, with two steps on a few images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from safetensors.torch import load as parse
from torch import Tensor, nn

from zoo.builder.fairness import Parameters, check_evaluating, check_module, untouched
from zoo.builder.weights import with_versions
from zoo.engine.checkpoint import as_safetensors
from zoo.engine.convolution import use_side_by_side
from zoo.engine.counts import count_activation_bytes, count_macs
from zoo.engine.evaluate import evaluate
from zoo.engine.guard import guarded
from zoo.engine.independence import ROUNDING, dependence_on_batch, share_beyond_rounding
from zoo.engine.memory_format import LAYOUTS
from zoo.engine.optim import make_optimizer, set_lr
from zoo.engine.step import TrainStep
from zoo.errors import Option, RegistryError, Words
from zoo.recipes.recipe import Recipe
from zoo.registry.entries import Layout
from zoo.runner.answers import NEAR, NOT_STORED, UNSEEDED, cut_off, finite, near, problem_of, same_answers, unstored
from zoo.runner.inputs import Shape
from zoo.runner.layers import layers_of, note_on, problem_in
from zoo.utils.distributed import SINGLE_PROCESS, unsynchronised
from zoo.utils.seeding import derive, same_random_numbers, seed_all

BATCH, LARGER = 2, 32  # images; some layers need several, such as a BatchNorm of parts of the batch
ANSWERS = "answers"
LR = 0.01  # at most: the steps have to change the weights, not to ruin them
ORDINALS = {1: "first", 2: "second"}
WORDS = {"nchw": "NCHW", "channels_last": "channels-last"}


@dataclass(frozen=True)
class Trial:
    """What a trial needs: `build` makes the module on the `device`, each time from the same seed.

    `where` names the model in messages, `shape` is (C, H, W), and `processes` share a batch in the run. `advice` is
    what to add where there are so many logits, but so many classes. `batch` images are trained on, or the recipe's
    batch where that is smaller.
    """

    where: str
    build: Callable[[], nn.Module]
    recipe: Recipe
    device: torch.device
    layout: Layout
    shape: Shape
    classes: int
    smallest_batch: int = BATCH
    processes: int = 1
    allow_batch_dependent: bool = False
    compiled: bool = False
    advice: Callable[[int, int], str] = lambda outputs, classes: ""
    batch: int = BATCH
    notes: list[str] = field(default_factory=list)  # that the last trial which passed left

    def refusal(self) -> RegistryError | None:
        """Why the model cannot be trained so; None where all passes."""
        try:
            with same_random_numbers(), guarded(self.where, "its trial"):
                self._carry_out()
        except RegistryError as problem:
            return problem
        return None

    def _carry_out(self) -> None:
        module, fresh = self._built(), self._built()
        if not self._same_tensors(module.state_dict(), fresh.state_dict()):
            self._refuse(f"building it {UNSEEDED}")
        step = self._step_of(module)
        unreached = self._train(step, 1)
        saved, stored = self._saved(step)
        answers = self._evaluated(step.evaluated)
        if problem := cut_off(step.model, unreached, self._train(step, 2), self.processes):
            self._refuse(problem)

        with self._doing("loading its stored weights"):
            fresh.load_state_dict(with_versions(fresh, stored))
        if not self._same(self._answers(self._laid_out(fresh), 0), answers):
            self._refuse(f"{NOT_STORED}{unstored(module, fresh)}")
        resumed = self._step_of(fresh)
        with self._doing("resuming from its saved state"):
            for name, part in resumed.parts.items():
                part.load_state_dict(saved[name])
        self._train(resumed, 2)
        outcome, resumed_outcome = self._outcome(module), self._outcome(fresh)
        if not self._same_tensors(outcome, resumed_outcome):
            # Statistics that eval() sums up, as a BatchNorm of parts of the batch does, are rounded once more.
            answers, expected = resumed_outcome.pop(ANSWERS), outcome[ANSWERS]
            rounding = 4 * ROUNDING[self.recipe.precision]
            if not (
                near(answers, expected, rounding)
                and self._same_tensors({**resumed_outcome, ANSWERS: expected}, outcome)
            ):
                self._explain(saved["model"], outcome, module, fresh)

        self._check_layouts(module, fresh)
        if self.smallest_batch == 1:
            advice = "; such a batch comes up: set drop_last=true or another batch_size"
            with self._doing(f"a training step on one image of shape {self.shape}", advice):
                module.train()
                step(self._images(1)[:1], self._labels[:1], 1.0)
        with self._doing("counting its operations and activations"):
            count_macs(module, self.shape, self.device)
            count_activation_bytes(module, self.shape, self.device, self.recipe.precision)
        with self._doing("evaluating one image and several"):
            share = dependence_on_batch(fresh, self._images(0))
        with self._doing("looking at its layers"):
            calls = layers_of(fresh, self._images(0))
            problem, note = problem_in(calls), note_on(calls)
        self._check_share(share)
        if problem:
            self._refuse(problem)
        self._check_compiled()
        self.notes[:] = [note] if note else []

    def _check_compiled(self) -> None:
        """One step of what torch.compile sees of the model; making machine code of it takes a run's own time."""
        if not self.compiled:
            return
        step = self._plain_step_of(self._built())
        torch.compiler.reset()
        with self._doing("a training step under torch.compile", "; leave out ", Option("compile")):
            step.network = torch.compile(step.model.train(), backend="aot_eager")
            step(self._images(1), self._labels, 1.0)

    def _built(self) -> nn.Module:
        with guarded(self.where, "building"):  # which looks at torch's state itself, and seeds it
            module = self.build()
        check_module(self.where, module)
        parameters = list(module.parameters())
        if not any(parameter.requires_grad for parameter in parameters):
            frozen = f"all its {len(parameters)} parameters are frozen" if parameters else "it has no parameters"
            self._refuse(f"{frozen}, so there is nothing to train")
        return module

    def _laid_out(self, module: nn.Module) -> nn.Module:
        with self._doing("taking the layout"):
            module = unsynchronised(module).to(memory_format=LAYOUTS[self.layout])
            use_side_by_side(module, self.device, self.recipe.precision, compiled=False)
        return module

    def _plain_step_of(self, module: nn.Module) -> TrainStep:
        module = self._laid_out(module)
        with self._doing("making its optimizer and a copy for the average"):
            optimizer = make_optimizer(module, self.recipe.optimizer)
            set_lr(optimizer, min(LR, self.recipe.optimizer.lr))
            return TrainStep(module, optimizer, self.recipe, self.device, distributed=SINGLE_PROCESS)

    def _step_of(self, module: nn.Module) -> TrainStep:
        """What trains `module`; from here on an answer that is no logits is refused."""
        step = self._plain_step_of(module)
        given: list[Tensor] = []  # to the forward pass that runs
        for part in {step.model, step.evaluated}:
            part.register_forward_pre_hook(lambda _, images: given.append(images[0].clone()))
            part.register_forward_hook(
                lambda part, images, answer: self._check_answer(part, answer, images[0], given.pop())
            )
        return step

    def _train(self, step: TrainStep, number: int) -> set[str]:
        """The first or second step of training; names of parameters that it gives no gradient."""
        seed_all(derive("trial", number))
        with self._doing(f"the {ORDINALS[number]} training step on images of shape {self.shape}"):
            parameters = Parameters(self.where, step.model)
            hook = step.optimizer.register_step_pre_hook(lambda *_: parameters.check())
            step.model.train()
            loss, _ = step(self._images(number), self._labels, number / 2)
            hook.remove()
        gradients = {name: part.grad for name, part in step.model.named_parameters() if part.requires_grad}
        if number == 1:
            self._check_numbers(loss, gradients)
        return {name for name, gradient in gradients.items() if gradient is None}

    def _check_numbers(self, loss: Tensor, gradients: Mapping[str, Tensor | None]) -> None:
        infinite = [name for name, gradient in gradients.items() if gradient is not None and not finite(gradient)]
        if not finite(loss):
            self._refuse(f"in the first training step ({self.recipe.precision}) its loss is {loss.item()}")
        if infinite and self.recipe.precision != "fp16":  # where the scaler leaves such a step out
            self._refuse(
                f"in the first training step ({self.recipe.precision}) the gradient of {infinite[0]!r} is not finite"
            )

    def _saved(self, step: TrainStep) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What ``state.pt`` and ``model.safetensors`` would give back."""
        with self._doing("saving its state"):
            content = io.BytesIO()
            torch.save({name: part.state_dict() for name, part in step.parts.items()}, content)
            content.seek(0)
            saved: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
        state = step.evaluated.state_dict()
        if other := next((name for name, part in state.items() if not isinstance(part, Tensor)), None):
            self._refuse(
                f"its state dict has {other!r}, a {type(state[other]).__name__}, and only tensors are stored; "
                "keep it in a buffer (register_buffer)"
            )
        with self._doing("storing its weights"):
            return saved, parse(as_safetensors(state))

    def _evaluated(self, module: nn.Module) -> Tensor:
        """The answers of `module` in evaluation, which may change nothing."""
        module.eval()
        parameters = Parameters(self.where, module)
        answers = self._answers(module, 0)
        alone = self._answers(module, 0, 1)
        self._answers(module, 1)
        again = self._answers(module, 0, seeded=False)
        parameters.check()
        if not self._same(again, answers) and not self.allow_batch_dependent:
            self._refuse(
                "in evaluation its output for the same images differs the second time: it keeps something of earlier "
                "inputs, or draws random numbers; correct that, or mark its results with ",
                Option("allow_batch_dependent"),
            )
        rounded = self._answers(module, 0, 1, change=ROUNDING[self.recipe.precision])
        self._check_share(share_beyond_rounding(answers[:1], alone, rounded, self.recipe.precision))
        return answers

    def _check_share(self, share: float) -> None:
        if share and not self.allow_batch_dependent:
            self._refuse(
                "in evaluation the prediction for an image depends on the other images of the batch (it changes by "
                f"{100 * share:.2g} % of the largest logit), so an accuracy would be that of one batch size and order; "
                "correct its norm, or mark its results with ", Option("allow_batch_dependent"),
            )  # fmt: skip

    def _answers(
        self, module: nn.Module, images: int, count: int = BATCH, *, seeded: bool = True, change: float = 0
    ) -> Tensor:
        """The logits for `count` images of a batch in the run's precision; the batches are numbered.

        Every number in the images is `change` of itself greater.
        """
        batch = [(self._images(images)[:count] * (1 + change), self._labels[:count])]
        if seeded:
            seed_all(derive("trial", "evaluation"))
        advice = "; its latency could not be measured" if count == 1 else ""
        with self._doing(f"evaluation on {'one image' if count == 1 else 'images'} of shape {self.shape}", advice):
            return evaluate(module, batch, self.device, self.recipe.precision, self.recipe.tta).logits

    def _check_layouts(self, module: nn.Module, fresh: nn.Module) -> None:
        """`fresh` has the weights of `module`, and moves to NCHW."""
        if self.layout != "channels_last":
            return
        with self._doing("evaluation in two layouts"), torch.no_grad():
            answers, images = module.eval()(self._images(0)), self._images(0).contiguous()
            expected = fresh.eval().to(memory_format=torch.contiguous_format)(images)
        if not near(answers, expected, NEAR["fp32"]):
            self._refuse("in channels-last its output differs from that in NCHW")

    def _outcome(self, module: nn.Module) -> dict[str, Tensor]:
        """What training has made of `module`: parameters and answers. A buffer may count the images it is shown."""
        parameters = {name: part.detach().clone() for name, part in module.named_parameters()}
        return {ANSWERS: self._answers(module.eval(), 0), **parameters}

    def _explain(
        self, after_first: Mapping[str, Tensor], outcome: dict[str, Tensor], module: nn.Module, resumed: nn.Module
    ) -> None:
        """Raise for a resumed training that went another way than that of `module`: a third model tells why."""
        replay = self._step_of(self._built())
        self._train(replay, 1)
        if not all(self._same(after_first[name], part.cpu()) for name, part in replay.model.named_parameters()):
            self._refuse(f"in training it {UNSEEDED}")
        self._train(replay, 2)
        if self._same_tensors(outcome, self._outcome(replay.model)):
            self._refuse(
                "resumed from its saved state it trains otherwise: what training changes has to be in parameters or "
                f"buffers (register_buffer), which are saved{unstored(module, resumed)}"
            )
        self._refuse(
            "evaluating it changes how it trains on, so held-out images would take part in training; change nothing "
            "in forward where self.training is false"
        )

    def _check_answer(self, part: nn.Module, answer: object, images: Tensor, before: Tensor) -> None:
        if not part.training:
            check_evaluating(self.where, part)
        if problem := problem_of(answer, (len(before), self.classes), self.advice):
            self._refuse(problem)
        if not torch.equal(images, before):
            self._refuse("its forward pass writes over the images that it is given; copy them first (x = x.clone())")

    def _images(self, number: int) -> Tensor:
        """The same for the same `number`, laid out as in the run."""
        g = torch.Generator().manual_seed(derive("trial", "images", number))
        images = torch.randn(min(self.batch, self.recipe.batch_size), *self.shape, generator=g).to(self.device)
        return images.contiguous(memory_format=LAYOUTS[self.layout])

    @property
    def _labels(self) -> Tensor:
        return torch.arange(min(self.batch, self.recipe.batch_size), device=self.device) % self.classes

    @contextlib.contextmanager
    def _doing(self, what: str, *advice: Words) -> Iterator[None]:
        how = f"{what} ({self.recipe.precision}, {WORDS[self.layout]})"
        with guarded(self.where, how, *advice), untouched(self.where, "running"):
            yield

    def _refuse(self, *words: Words) -> NoReturn:
        raise RegistryError(f"{self.where}: ", *words)

    def _same(self, one: Tensor, other: Tensor) -> bool:
        return same_answers(one, other, self.device, self.recipe.precision)

    def _same_tensors(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """The same names and tensors; what else a state dict may hold is not compared."""
        return one.keys() == other.keys() and all(
            self._same(tensor, other[name]) for name, tensor in one.items() if isinstance(tensor, Tensor)
        )
