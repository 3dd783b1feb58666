"""The sampler: what it draws, what it says about it, and that company does not matter."""

from itertools import combinations

import pytest
import torch
import transformers
from conftest import full_logprobs, run_cli, small_model
from torch.profiler import ProfilerActivity, profile

import rollout
from model import Transformer
from rollout import Draft, draw, retire, sample, sampling_probs
from support import prepacked
from support.files import InputError
from support.logprobs import autocast

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [16, 17], [5, 6, 7]]
STOPS = [3, 11, 20, 33, 50]  # many, so that rows end at different times


@pytest.fixture(params=["as they are", "prepacked"])
def weights(request, monkeypatch) -> None:
    """The sampler's numbers must be right with either layout of the weights."""
    if request.param == "prepacked":
        monkeypatch.setattr(prepacked, "LARGE", 0)


def flat(groups):
    return [answer for group in groups for answer in group]


def rescore(model, answer, temperature):
    """Log-probs of the answer by one plain forward pass over prompt and answer."""
    ids = torch.tensor([answer.prompt_ids + answer.token_ids])
    with torch.no_grad():
        logp, _ = full_logprobs(model(ids), ids, temperature)
    return logp[0, len(answer.prompt_ids) :]


def assert_scored_right(model, answers, temperature=1.0, atol=1e-5):
    for answer in answers:
        expected = rescore(model, answer, temperature)
        assert torch.allclose(torch.tensor(answer.logprobs), expected, atol=atol)


def assert_same(groups, others):
    for a, b in zip(flat(groups), flat(others), strict=True):
        assert a.token_ids == b.token_ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


# ---------------------------------------------------------------- what is said of the answers


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_the_kept_logprob_is_that_of_the_policy_at_the_sampling_temperature(model, temperature):
    """Trap 4: the sampled distribution is not the scored one (TRL #4159, #6789)."""
    settings = {"stop_ids": STOPS, "max_new_tokens": 24, "temperature": temperature, "seed": 1}
    groups = sample(model, PROMPTS, 4, **settings)
    assert_scored_right(model, flat(groups), temperature, atol=1e-4)


@pytest.mark.usefixtures("weights")
def test_in_bfloat16_the_sampler_and_the_trainer_round_alike(model):
    """With a KV cache in bfloat16, and with weights that are prepacked in it."""
    model.compute_in = "bfloat16"
    groups = sample(model, PROMPTS, 4, stop_ids=STOPS, max_new_tokens=24, seed=1)
    of_trainer, of_float32 = [], []
    for answer in flat(groups):
        logprobs = torch.tensor(answer.logprobs)
        with autocast(model):
            of_trainer.append((logprobs - rescore(model, answer, 1.0)).abs())
        of_float32.append((logprobs - rescore(model, answer, 1.0)).abs())
    assert model.model.norm.weight.dtype == torch.float32
    assert torch.cat(of_trainer).mean() < torch.cat(of_float32).mean() < 0.1
    assert torch.cat(of_float32).mean() > 1e-4  # so it was rounded


def test_in_bfloat16_a_weight_is_rounded_once_and_not_for_every_token(model):
    """In inference_mode autocast keeps no rounded weight."""
    model.compute_in = "bfloat16"
    head = list(model.head.shape)

    def roundings(tokens: int) -> int:
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
            sample(model, PROMPTS, stop_ids=[], max_new_tokens=tokens)
        copies = [event for event in profiled.events() if event.name == "aten::_to_copy"]
        return sum(copy.input_shapes[0] == head for copy in copies)

    assert roundings(3) == roundings(12) == 1


def test_a_stopped_answer_ends_in_its_stop_id_with_a_logprob(model):
    """Trap 1: the EOS is dropped (nanochat #810), here with several stop ids of which 0 is also
    padding."""
    stop_ids = [0, *STOPS]
    finishes = set()
    for answer in flat(sample(model, PROMPTS, 8, stop_ids=stop_ids, max_new_tokens=12)):
        finishes.add((answer.finish, answer.token_ids[-1] in stop_ids))
        assert len(answer.logprobs) == len(answer.token_ids) <= 12
        assert not set(stop_ids) & set(answer.token_ids[:-1])
    assert finishes == {("stop", True), ("length", False)}


def test_answers_end_where_the_context_ends(model):
    (answer,) = sample(model, [[5] * 60], 1, stop_ids=[], max_new_tokens=50)[0]
    assert (len(answer.token_ids), answer.finish) == (4, "length")  # context 64


# ---------------------------------------------------------------- company does not matter


@pytest.mark.usefixtures("weights")
def test_alone_batched_shuffled_and_with_few_rows_give_the_same(model):
    """Trap 3: position, batch-mates, rows that left or came change tokens or log-probs
    (nano-vllm #89)."""
    settings = {"stop_ids": STOPS, "max_new_tokens": 24, "seed": 2}
    whole = sample(model, PROMPTS, 3, **settings)
    lengths = {len(answer.token_ids) for answer in flat(whole)}
    assert len(lengths) > 4  # rows do leave at different times
    for max_rows in (3, 7):
        assert_same(whole, sample(model, PROMPTS, 3, max_rows=max_rows, **settings))

    greedy = sample(model, PROMPTS, 1, temperature=0, **settings)
    order = [3, 0, 4, 2, 1]
    shuffled = sample(model, [PROMPTS[i] for i in order], 1, temperature=0, **settings)
    assert [greedy[i][0].token_ids for i in order] == [a.token_ids for a in flat(shuffled)]
    for prompt, (together,) in zip(PROMPTS, greedy, strict=True):
        (alone,) = flat(sample(model, [prompt], 1, temperature=0, **settings))
        assert alone.token_ids == together.token_ids
    assert_scored_right(model, flat(whole))


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_a_list_that_is_answered_in_portions_draws_what_one_call_draws(model, cut):
    settings = {"stop_ids": STOPS, "max_new_tokens": 24, "seed": 2}
    begun = sample(model, PROMPTS[:cut], 3, **settings)
    rest = sample(model, PROMPTS[cut:], 3, prompts_before=cut, **settings)
    assert_same(sample(model, PROMPTS, 3, **settings), [*begun, *rest])


@pytest.mark.parametrize(("sizes", "new"), [((63, 3), 6), ((60, 3), 30), ((1, 1, 1), 5)])
def test_a_short_prompt_that_was_prefilled_beside_a_long_one_fits_the_cache(model, sizes, new):
    prompts = [[5] * size for size in sizes]
    for max_rows in (1, 2, 3, 7):
        settings = {"stop_ids": [], "max_new_tokens": new, "max_rows": max_rows}
        assert_scored_right(model, flat(sample(model, prompts, 2, **settings)))


def test_prefill_in_parts_changes_nothing(model, monkeypatch):
    whole = sample(model, PROMPTS, 2, stop_ids=STOPS, max_new_tokens=8)
    monkeypatch.setattr(rollout, "PREFILL_TOKENS", 1)
    assert_same(whole, sample(model, PROMPTS, 2, stop_ids=STOPS, max_new_tokens=8))


def test_the_seed_decides_and_samples_of_a_prompt_differ(model):
    settings = {"stop_ids": STOPS, "max_new_tokens": 16}
    a, b, c = (sample(model, PROMPTS, 4, seed=seed, **settings) for seed in (7, 7, 8))
    assert a == b != c
    assert len({tuple(answer.token_ids) for answer in a[0]}) > 1
    same_prompt = ([answer.token_ids for answer in a[i]] for i in (0, 4))
    assert next(same_prompt) != next(same_prompt)


# ---------------------------------------------------------------- rows that leave and come


def test_a_free_row_goes_to_the_next_answer_and_a_prompt_is_prefilled_once(model, monkeypatch):
    """The cost is the sum of the lengths: no row waits for the longest of its batch."""
    prefilled = []
    steps = []  # rows in use at each step that is no prefill
    prefill = rollout.prefill
    hidden_after = model.hidden_after

    def recorded_prefill(of_model, prompts):
        prefilled.extend(map(tuple, prompts))
        return prefill(of_model, prompts)

    def recorded_hidden_after(cache, ids, counts=None):
        if cache.lengths[: cache.rows_in_use].any():
            steps.append(len(ids))
        return hidden_after(cache, ids, counts)

    monkeypatch.setattr(rollout, "prefill", recorded_prefill)
    monkeypatch.setattr(model, "hidden_after", recorded_hidden_after)
    settings = {"stop_ids": STOPS, "max_new_tokens": 24, "max_rows": 4, "seed": 2}
    groups = sample(model, PROMPTS, 6, **settings)
    assert sorted(prefilled) == sorted(map(tuple, PROMPTS))
    lengths = [len(answer.token_ids) for answer in flat(groups)]
    # every answer's first token comes from its prompt
    assert sum(steps) == sum(lengths) - len(lengths)
    assert len(steps) < 1.2 * sum(steps) / 4
    assert max(lengths) > 1.5 * sum(lengths) / len(lengths)


class TrackedCache:
    """In place of the cache's numbers: whose keys and values each row holds."""

    def __init__(self, drafts: list[Draft]):
        self.holds = [draft.number for draft in drafts]
        self.rows_in_use = len(drafts)

    def replace(self, row: int, by: int) -> None:
        self.holds[row] = self.holds[by]


SUBSETS = [set(rows) for size in range(6) for rows in combinations(range(5), size)]


@pytest.mark.parametrize("ended", SUBSETS, ids=str)
def test_whatever_rows_end_the_other_drafts_keep_their_own_row_of_the_cache(ended):
    drafts = [Draft(number=10 + row, prompt_number=0, room=9) for row in range(5)]
    for row in ended:
        drafts[row].finish = "stop"
    expected = {draft.number for draft in drafts if not draft.finish}
    cache = TrackedCache(drafts)
    retire(drafts, cache)
    left = [draft.number for draft in drafts]
    assert len(left) == len(expected) and set(left) == expected
    assert cache.rows_in_use == len(left)
    assert cache.holds[: cache.rows_in_use] == left


# ---------------------------------------------------------------- beside transformers


def test_smollm2_gives_the_greedy_tokens_of_transformers(smollm2):
    ours = Transformer.from_pretrained(smollm2)
    reference = transformers.AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    prompts = torch.randint(10, 49000, (5, 12), generator=torch.Generator().manual_seed(1))
    settings = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}
    expected = reference.generate(prompts, **settings)[:, 12:]
    groups = sample(ours, prompts.tolist(), 1, stop_ids=[], max_new_tokens=8, temperature=0)
    assert [group[0].token_ids for group in groups] == expected.tolist()


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma"])
def test_greedy_tokens_are_those_of_transformers(family, tmp_path):
    head_dim = 16 if family == "gemma" else 8  # Gemma's are wider than their share
    model = small_model(family, head_dim=head_dim)
    model.save_pretrained(tmp_path)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    settings = {"do_sample": False, "max_new_tokens": 16, "eos_token_id": 3, "pad_token_id": 0}
    for prompt in PROMPTS:
        (ours,) = flat(sample(model, [prompt], stop_ids=[3], max_new_tokens=16, temperature=0))
        ids = reference.generate(torch.tensor([prompt]), **settings)
        assert ids[0, len(prompt) :].tolist() == ours.token_ids


@pytest.mark.usefixtures("weights")
def test_new_weights_are_sampled_from_at_once(model):
    """A sampler with weights of its own goes stale (TRL #3247)."""
    settings = {"stop_ids": [], "max_new_tokens": 8, "temperature": 0}
    (before,) = flat(sample(model, [[5]], **settings))
    model.load_state_dict(small_model(seed=1).state_dict())
    (after,) = flat(sample(model, [[5]], **settings))
    assert after.token_ids != before.token_ids


# ---------------------------------------------------------------- one token


def test_the_temperature_sharpens_the_distribution_that_is_drawn_from():
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))
    expected = {
        1.0: [0.1, 0.4, 0.2, 0.3],
        0.5: [1 / 30, 16 / 30, 4 / 30, 9 / 30],  # their squares: 1, 16, 4, 9 hundredths
        0.0: [0, 1, 0, 0],
    }
    for temperature, probs in expected.items():
        assert sampling_probs(logits, temperature)[0].tolist() == pytest.approx(probs)
    assert sampling_probs(logits, 0.0)[0].tolist() == [0, 1, 0, 0]


def test_tokens_are_drawn_as_often_as_their_probabilities_say():
    probs = torch.tensor([[0.0, 0.5, 0.0, 0.2, 0.3, 0.0]]).expand(10_000, -1)
    uniform = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    tokens, kept = draw(probs, uniform)
    assert torch.bincount(tokens, minlength=6).tolist() == [0, 5000, 0, 2000, 3000, 0]
    assert torch.equal(kept, probs[0][tokens].log())
    edges, _ = draw(probs[:2], torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert edges.tolist() == [1, 4]  # never a token of probability 0


# ---------------------------------------------------------------- numbers that are none

NOT_FINITE = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("temperature", [0, 0.7, 1.0])
@pytest.mark.parametrize("value", NOT_FINITE)
def test_no_token_is_drawn_from_weights_that_are_not_finite(model, temperature, value):
    """One NaN weight: the last token was drawn, or greedily the first with log-prob 0."""
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = value
    settings = {"stop_ids": STOPS, "max_new_tokens": 8, "temperature": temperature}
    says = "sampling, token 1 of an answer: expected finite logits, found"
    with pytest.raises(InputError, match=says):
        sample(model, PROMPTS, 2, **settings)


def test_weights_that_overflow_are_found_where_they_do(model):
    """All weights are finite, and one row of the head gives infinite logits."""
    with torch.no_grad():
        model.model.norm.weight *= 1e20
        model.model.embed_tokens.weight[90] *= 1e20
    with pytest.raises(InputError, match="expected finite logits"):
        sample(model, PROMPTS, 1, stop_ids=STOPS, max_new_tokens=8)


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("value", NOT_FINITE)
def test_the_token_is_named_from_which_on_the_logits_are_not_finite(
    model, monkeypatch, temperature, value
):
    """A single logit of a single row is enough, in the middle of an answer."""
    logits_of = model.logits
    calls = []

    def broken_at_the_third(hidden):
        calls.append(len(hidden))
        logits = logits_of(hidden)
        if len(calls) == 3:
            logits = logits.clone()
            logits[-1, 7] = value
        return logits

    monkeypatch.setattr(model, "logits", broken_at_the_third)
    settings = {"stop_ids": [], "max_new_tokens": 8, "temperature": temperature}
    with pytest.raises(InputError, match="sampling, token 3 of an answer"):
        sample(model, [[5, 6], [7]], 2, **settings)
    assert len(calls) == 3


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("prompt", [[], [1] * 64])
def test_a_prompt_that_cannot_be_answered_is_named(model, prompt):
    with pytest.raises(InputError, match=r"prompt 1: expected 1 to 63 tokens"):
        sample(model, [[1], prompt], stop_ids=[])


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"max_new_tokens": 0},
        {"max_rows": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(model, wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        sample(model, [[1]], stop_ids=[], **wrong)


# ---------------------------------------------------------------- the command


def test_command_line_answers_a_question(learned, monkeypatch, capsys):
    arguments = (learned, "Say 3.", "--samples", 2, "--temperature", 1)
    code, out, err = run_cli(monkeypatch, capsys, rollout.main, *arguments)
    assert code == 0 and out.count("####") == 2 and err.count("finish: stop") == 2
    nowhere = learned / "nowhere"
    for wrong in ((nowhere, "Say 3."), (learned, "\udcff"), (learned, "Say 3.", "--seed", 10**20)):
        code, _, err = run_cli(monkeypatch, capsys, rollout.main, *wrong)
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1


def test_more_tokens_than_the_context_holds_cost_nothing(model):
    """Random numbers were made for two thousand million."""
    (answers,) = sample(model, [[5, 6, 7]], 2, stop_ids=STOPS, max_new_tokens=2 * 10**9)
    context = model.config.max_position_embeddings
    assert all(len(answer.token_ids) <= context - 3 for answer in answers)
