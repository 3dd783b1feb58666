"""Where a wrong answer goes wrong: what the policy reads twice, and how it scores it."""

from types import SimpleNamespace

from conftest import sentencepiece

from rollout import Policy
from support import assisted
from support.assisted import up_to_doubted_number
from support.settings import Settings


def test_the_same_tokens_are_scored_behind_the_question_and_with_a_right_answer_in_sight(
    monkeypatch,
):
    """They are those of the answer after its prompt: on its own, each of its steps would begin
    with a word boundary."""
    tokenizer = sentencepiece("first")
    answer = "First 2+2=5\nfour is wrong."
    question = tokenizer.question_prompt("How many?")
    with_sibling = tokenizer.prompt("How many? 2+2=4")
    scored = []

    def score(model, rows, temperature, micro_tokens) -> list[list[float]]:
        for row in rows:
            scored.append((row.prompt_ids, row.token_ids, temperature))
        return [[0.0] * len(row.token_ids) for row in rows]

    monkeypatch.setattr(assisted, "score", score)
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=200))
    policy = Policy(model, tokenizer)
    up_to_doubted_number(policy, answer, question, with_sibling, Settings(temperature=0.7))

    _, token_ids, _ = scored[0]
    assert scored == [(question, token_ids, 0.7), (with_sibling, token_ids, 0.7)]
    before = tokenizer.decode(question)
    assert tokenizer.decode(question + token_ids) == before + answer
