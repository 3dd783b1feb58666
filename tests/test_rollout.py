"""The sampler: what it draws, what it says about it, and that company does not matter."""

import pytest
import torch
from conftest import full_logprobs, run_cli, small_model

import rollout
from model import Transformer
from rollout import draw, sample, sampling_probs
from support.hub import InputError

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [16, 17], [5, 6, 7]]
STOPS = [3, 11, 20, 33, 50]  # many, so that rows end at different times


def flat(groups):
    return [r for group in groups for r in group]


def rescore(model, r, temperature):
    """Log-probs of the answer by one plain forward pass over prompt and answer."""
    ids = torch.tensor([r.prompt_ids + r.token_ids])
    with torch.no_grad():
        return full_logprobs(model(ids), ids, temperature)[0][0, len(r.prompt_ids) :]


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_the_kept_logprob_is_that_of_the_policy_at_the_sampling_temperature(model, temperature):
    """Trap 4: the sampled distribution is not the scored one (TRL #4159, #6789)."""
    groups = sample(model, PROMPTS, 4, stop_ids=STOPS, max_new_tokens=24, temperature=temperature, seed=1)
    for group in groups:
        for r in group:
            assert torch.allclose(torch.tensor(r.logprobs), rescore(model, r, temperature), atol=1e-4)


def test_a_stopped_answer_ends_in_its_stop_id_with_a_logprob(model):
    """Trap 1: the EOS is dropped (nanochat #810), here with several stop ids of which 0 is also padding."""
    finishes = set()
    for r in (r for group in sample(model, PROMPTS, 8, stop_ids=[0, *STOPS], max_new_tokens=12) for r in group):
        finishes.add((r.finish, r.token_ids[-1] in [0, *STOPS]))
        assert len(r.logprobs) == len(r.token_ids) <= 12
        assert not {0, *STOPS} & set(r.token_ids[:-1])
    assert finishes == {("stop", True), ("length", False)}


def test_alone_batched_shuffled_and_with_few_rows_give_the_same(model):
    """Trap 3: position, batch-mates, rows that left or came change tokens or log-probs (nano-vllm #89)."""
    settings = {"stop_ids": STOPS, "max_new_tokens": 24, "seed": 2}
    whole = sample(model, PROMPTS, 3, **settings)
    assert len({len(r.token_ids) for group in whole for r in group}) > 4  # rows do leave at different times
    for max_rows in (3, 7):
        again = sample(model, PROMPTS, 3, max_rows=max_rows, **settings)
        for a, b in zip(flat(whole), flat(again), strict=True):
            assert a.token_ids == b.token_ids
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)
    greedy = sample(model, PROMPTS, 1, temperature=0, **settings)
    order = [3, 0, 4, 2, 1]
    shuffled = sample(model, [PROMPTS[i] for i in order], 1, temperature=0, **settings)
    assert [greedy[i][0].token_ids for i in order] == [g[0].token_ids for g in shuffled]
    for prompt, (together,) in zip(PROMPTS, greedy, strict=True):
        assert sample(model, [prompt], 1, temperature=0, **settings)[0][0].token_ids == together.token_ids
    for r in flat(whole):
        assert torch.allclose(torch.tensor(r.logprobs), rescore(model, r, 1.0), atol=1e-5)


@pytest.mark.parametrize(("sizes", "new"), [((63, 3), 6), ((60, 3), 30), ((1, 1, 1), 5)])
def test_a_short_prompt_that_was_prefilled_beside_a_long_one_fits_the_cache(model, sizes, new):
    prompts = [[5] * size for size in sizes]
    for max_rows in (1, 2, 3, 7):
        for r in flat(sample(model, prompts, 2, stop_ids=[], max_new_tokens=new, max_rows=max_rows)):
            assert torch.allclose(torch.tensor(r.logprobs), rescore(model, r, 1.0), atol=1e-5)


def test_prefill_in_parts_changes_nothing(model, monkeypatch):
    whole = sample(model, PROMPTS, 2, stop_ids=STOPS, max_new_tokens=8)
    monkeypatch.setattr(rollout, "PREFILL_TOKENS", 1)
    parts = sample(model, PROMPTS, 2, stop_ids=STOPS, max_new_tokens=8)
    for a, b in zip(flat(whole), flat(parts), strict=True):
        assert a.token_ids == b.token_ids and a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_a_free_row_goes_to_the_next_answer_and_a_prompt_is_prefilled_once(model, monkeypatch):
    """The cost is the sum of the lengths: no row waits for the longest of its batch."""
    prefilled, rows = [], []
    prefill, hidden = rollout.prefill, model.hidden
    monkeypatch.setattr(rollout, "prefill", lambda m, p, d: prefilled.extend(map(tuple, p)) or prefill(m, p, d))
    monkeypatch.setattr(
        model, "hidden", lambda ids, cache: rows.append((len(ids), cache.longest)) or hidden(ids, cache)
    )
    groups = sample(model, PROMPTS, 6, stop_ids=STOPS, max_new_tokens=24, max_rows=4, seed=2)
    assert sorted(prefilled) == sorted(map(tuple, PROMPTS))
    lengths = [len(r.token_ids) for r in flat(groups)]
    steps = [r for r, before in rows if before]  # not the prefills
    assert sum(steps) == sum(lengths) - len(lengths)  # every answer's first token comes from its prompt
    assert len(steps) < 1.2 * sum(steps) / 4 and max(lengths) > 1.5 * sum(lengths) / len(lengths)


def test_smollm2_gives_the_greedy_tokens_of_transformers(smollm2):
    import transformers

    ours = Transformer.from_pretrained(smollm2)
    reference = transformers.AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    prompts = torch.randint(10, 49000, (5, 12), generator=torch.Generator().manual_seed(1))
    settings = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}
    expected = reference.generate(prompts, **settings)[:, 12:]
    groups = sample(ours, prompts.tolist(), 1, stop_ids=[], max_new_tokens=8, temperature=0)
    assert [group[0].token_ids for group in groups] == expected.tolist()


def test_greedy_tokens_are_those_of_transformers(model, tmp_path):
    import transformers

    model.save_pretrained(tmp_path)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for prompt in PROMPTS:
        (ours,) = sample(model, [prompt], 1, stop_ids=[3], max_new_tokens=16, temperature=0)[0]
        ids = reference.generate(
            torch.tensor([prompt]), max_new_tokens=16, do_sample=False, eos_token_id=3, pad_token_id=0
        )
        assert ids[0, len(prompt) :].tolist() == ours.token_ids


def test_the_seed_decides_and_samples_of_a_prompt_differ(model):
    settings = {"stop_ids": STOPS, "max_new_tokens": 16}
    a, b, c = (sample(model, PROMPTS, 4, seed=seed, **settings) for seed in (7, 7, 8))
    assert a == b != c
    assert len({tuple(r.token_ids) for r in a[0]}) > 1
    assert [r.token_ids for r in a[0]] != [r.token_ids for r in a[4]]  # the same prompt twice


def test_new_weights_are_sampled_from_at_once(model):
    """A sampler with weights of its own goes stale (TRL #3247)."""
    before = sample(model, [[5]], 1, stop_ids=[], max_new_tokens=8, temperature=0)[0][0].token_ids
    model.load_state_dict(small_model(seed=1).state_dict())
    assert sample(model, [[5]], 1, stop_ids=[], max_new_tokens=8, temperature=0)[0][0].token_ids != before


def test_top_k_and_top_p_keep_the_smallest_sets():
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))
    assert sampling_probs(logits, 1.0, top_k=2)[0].tolist() == pytest.approx([0, 4 / 7, 0, 3 / 7])
    for top_p, expected in ((0.39, [0, 1, 0, 0]), (0.41, [0, 4 / 7, 0, 3 / 7]), (0.71, [0, 4 / 9, 2 / 9, 3 / 9])):
        assert sampling_probs(logits, 1.0, top_p=top_p)[0].tolist() == pytest.approx(expected)
    assert sampling_probs(logits, 0.5)[0].tolist() == pytest.approx([1 / 30, 16 / 30, 4 / 30, 9 / 30])
    assert sampling_probs(logits, 0.0)[0].tolist() == [0, 1, 0, 0]


def test_tokens_are_drawn_as_often_as_their_probabilities_say():
    probs = torch.tensor([[0.0, 0.5, 0.0, 0.2, 0.3, 0.0]]).expand(10_000, -1)
    uniform = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    tokens, kept = draw(probs, uniform)
    assert torch.bincount(tokens, minlength=6).tolist() == [0, 5000, 0, 2000, 3000, 0]
    assert torch.equal(kept, probs[0][tokens].log())
    edges, _ = draw(probs[:2], torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert edges.tolist() == [1, 4]  # never a token of probability 0


def test_answers_end_where_the_context_ends(model):
    (r,) = sample(model, [[5] * 60], 1, stop_ids=[], max_new_tokens=50)[0]
    assert (len(r.token_ids), r.finish) == (4, "length")  # context 64


@pytest.mark.parametrize("prompt", [[], [1] * 64])
def test_a_prompt_that_cannot_be_answered_is_named(model, prompt):
    with pytest.raises(InputError, match=r"prompt 1: expected 1 to 63 tokens"):
        sample(model, [[1], prompt], stop_ids=[])


@pytest.mark.parametrize("wrong", [{"n": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"max_rows": 0}])
def test_settings_that_cannot_be_are_refused(model, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        sample(model, [[1]], stop_ids=[], **wrong)


def test_command_line_answers_a_question(learned, monkeypatch, capsys):
    code, out, err = run_cli(monkeypatch, capsys, rollout.main, learned, "Say 3.", "--samples", 2, "--temperature", 1)
    assert code == 0 and out.count("####") == 2 and err.count("finish: stop") == 2
    code, _, err = run_cli(monkeypatch, capsys, rollout.main, learned / "nowhere", "Say 3.")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
