"""The answer in a text: where it is found, where there is none, and how long the search may take.

The cases are our own.
"""

import pytest

from checker import extract_answer, visible

FOUND = [
    ("So \\boxed{\\frac{1}{\\sqrt{2}}}.", "\\frac{1}{\\sqrt{2}}"),
    ("\\boxed{1} and then \\boxed{2}", "2"),
    ("\\fbox{ 7 }", "7"),
    ("\\boxed 5", "5"),
    ("$\\boxed 5$.", "5"),
    ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
    ("3 + 4 = 7\n#### 7", "7"),
    ("3 + 4 = 7\n####7", "7"),
    ("#### 1\n#### 1,234", "1,234"),
    ("The answer is 42.", "42"),
    ("Hence the answer is: 42, because 6*7=42.", "42"),
    ("the final answer is $\\frac{1}{2}$. I hope it is correct.", "\\frac{1}{2}"),
    ("The answer is (B).", "(B)"),
    ("The answer is 2, 3, and 5.", "2, 3, and 5"),
    ("The answer is 3.5 dollars", "3.5 dollars"),
    ("The answer is \\(x=4\\).", "x=4"),
    ("Final Answer: The area of the square is 49.", "49"),
    ("**Answer:** 17", "17"),
    ("**Answer: 17**", "17"),
    ("**Final Answer**\n\n17", "17"),
    ("16 - 3 = 13\nA: 13", "13"),
    ("1. **Add:** 2 + 3\n\nIn all **5 apples**.", "5 apples"),
    ("The answer is 4.<|im_end|>\nThe answer is 5.", "4"),
    ("\\boxed{4}</s>\\boxed{5}", "4"),
    ("<think>The answer is 3?</think>The answer is 4.", "4"),
]

BOXES = [
    (
        "\\boxed{\n\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}\n}",
        "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
    ),
    ("\\boxed{3} or \\fbox{4}, so \\fbox{4}", "4"),
    ("\\fbox{3}, that is \\boxed{3.0}", "3.0"),
    ("\\boxed {12}", "12"),
    ("The answer is 3, or rather \\boxed{4}.", "4"),
    ("\\boxed{7}\n\nThe answer is correct.", "7"),
    ("#### 3\n\\boxed{4}", "4"),
    ("**9** and \\boxed{8}", "8"),
    ("\\boxed{a_{1}} \\text{ and \\boxed{\\text{yes}}}", "\\text{yes}"),
    ("\\boxed{}", None),
    ("\\boxed{5} and \\boxed{6", None),
    ("The answer is 5, so \\boxed{\\frac{1}{2}", None),
    ("\\boxed{\\{1, 2\\}", None),
]

TAGS = [
    ("<answer>48</answer>", "48"),
    ("<think>6 * 8</think>\n<answer> 48 </answer>", "48"),
    ("<answer>1</answer> no, <answer>2</answer>", "2"),
    ("<answer>\n\\boxed{48}\n</answer>", "48"),
    ("<answer>6 * 8 is 48.\nThe answer is 48.</answer>", "48"),
    ("<answer>$x = 4$</answer>", "x = 4"),
    ("<answer>\\[\n\\frac{1}{2}\n\\]</answer>", "\\frac{1}{2}"),
    ("<answer>**12**</answer>", "12"),
    ("The answer is 3. <answer>4</answer>", "4"),
    ("\\boxed{3} <answer>4</answer>", "4"),
    ("I put it into <answer> tags. The answer is 5.", "5"),
    ("<answer>6\n7</answer>", None),
    ("<answer>" + "We add 6 and 7 and then 8. " * 20 + "</answer>", None),
    ("<answer>48", None),
    ("<answer>4</answer> wait, <answer>48", None),
    ("<answer></answer>", None),
    ("The answer is 4. <answer> </answer>", None),
]

SHOWN = [
    ("<think>\\boxed{3}</think>\\boxed{4}", "4"),
    ("\\boxed{3}</think>The answer is 4", "4"),
    ("<think>a</think>no<think>b</think>The answer is 4", "4"),
    ("The answer is 4<|endoftext|>The answer is 5", "4"),
    ("The answer is 4 <|eot_id|><|start_header_id|>user<|end_header_id|>\n#### 5", "4"),
    ("#### 4\n<end_of_turn>\n#### 5", "4"),
    ("#### 4<|end_of_text|>\n#### 5", "4"),
    ("#### 4<eos>\n#### 5", "4"),
    ("#### 4<|eom_id|>#### 5", "4"),
    ("#### 4<|end|>#### 5", "4"),
    ("<|start_header_id|>assistant<|end_header_id|>\n\nThe answer is 5.<|eot_id|>", "5"),
    ("<|im_start|>assistant\nThe answer is 5.<|im_end|>", "5"),
    ("<s>The answer is 5.</s>", "5"),
    ("</s>The answer is 5.", "5"),
    ("The answer is 5\n<|im_start|>user\nIs the answer: 6", "5"),
    ("#### 5 <start_of_turn>user\n#### 6", "5"),
    ("<think>\\boxed{3}", None),
    ("<think>The answer is 3.</think>", None),
    ("<think>The answer is 3.<|im_end|></think>The answer is 4.", None),
    ("\\boxed{3} <think>or is it", None),
    ("I do not know.<|im_end|>\n#### 5", None),
]

HASHES = [
    ("#### Answer: 42", "42"),
    ("#### **42**", "42"),
    ("#### $42$", "42"),
    ("#### \\$18", "\\$18"),
    ("#### -3", "-3"),
    ("#### .5", ".5"),
    ("#### 42 ####", "42"),
    ("#### The final answer is 42.", "42"),
    ("#### 42 is the answer", "42"),
    ("#### 12 eggs a day", "12 eggs a day"),
    ("#### x = 3\nThis is the only root.", "x = 3"),
    ("Both are even.\n#### yes", "yes"),
    ("Both are even.\n#### C", "C"),
    ("#### Final Answer\n42", "42"),
    ("#### Answer\n\n$$42$$", "42"),
    ("#### 42\nI checked it: 6 * 7 fits.", "42"),
    ("#### Step 1: Add\n3 + 4 = 7\n#### 7", "7"),
    ("The answer is 7.\n#### Conclusion\nWe are done with it.", "7"),
    ("The answer is 6.\n\n#### 2. Multiply\n2 * 3 = 6", "6"),
    ("The answer is 6.\n#### 2 Multiply", "6"),
    ("The answer is 6.\n#### (2) multiply 2 by 3", "6"),
    ("The answer is 6.\n##### 5", "6"),
    ("#### 2. Multiply\n2 * 3 = 6", None),
    ("#### 1: Add", None),
    ("#### 1.2 Products\nThey have 6 in all.", None),
    ("#### Conclusion\nThey have 6 in all.", None),
    ("#### Conclusion: they have 6 in all.", None),
    ("### 42", None),
    ("##### 42", None),
    ("####\n42", None),
    ("#### ", None),
    ("#### 42 is not the answer", "42 is not the answer"),
]

SAID = [
    ("The answer is:\n42", "42"),
    ("The answer is:\n\n\\[\n\\sqrt{2}\n\\]\n", "\\sqrt{2}"),
    ("The answer is\n$$\nx = 4.\n$$", "x = 4"),
    (
        "The answer is: \\[ \\begin{pmatrix}\n1 \\\\[2pt]\n2\n\\end{pmatrix} \\]",
        "\\begin{pmatrix}\n1 \\\\[2pt]\n2\n\\end{pmatrix}",
    ),
    ("Answer: 42", "42"),
    ("Ans: 42", "42"),
    ("**Answer**: 42", "42"),
    ("*Answer:* 42", "42"),
    ("### Answer\n42", "42"),
    ("## Final Answer:\n\n**42**", "42"),
    ("### Final Answer\nThere are clearly 3. The answer is 3.", "3"),
    ("A: The answer is 42.", "42"),
    ("**A:** 42", "42"),
    ("The answers are 2 and 3.", "2 and 3"),
    ("The answer to the question is 42.", "42"),
    ("The answer in simplest form is 3/4.", "3/4"),
    ("The answer, therefore, is 42.", "42"),
    ("The answer must be 42.", "42"),
    ("The answer equals 42.", "42"),
    ("The answer = 42", "42"),
    ("The correct answer is option C.", "C"),
    ("The answer is B because 5 is larger.", "B"),
    ("The answer is C, as 7 is odd.", "C"),
    ("The answer is C.\nA: 5\nB: 6\nC: 7", "C"),
    ("Answer: (D)\n\nA: 5  B: 6  C: 7  D: 8", "(D)"),
    ("Answer: C\n**A:** 5\n**B:** 6\n**C:** 7", "C"),
    ("A: 5\nB: 6\n\nThe answer is B.", "B"),
    ("A) 5\nB) 6\nAnswer: B) 6", "B) 6"),
    ("The answer is simply 42.", "42"),
    ("The answer is therefore exactly 42 apples.", "42 apples"),
    ("The answer is indeed $42$.", "42"),
    ("The answer is a total of 12 apples.", "12 apples"),
    ("The answer is equal to 12.", "12"),
    ("The answer is as follows:\n\n12", "12"),
    ("The answer is approximately 2.7", "2.7"),
    ("The answer is 42!", "42"),
    ("The answer is 42! That was easy.", "42"),
    ("The answer is **42**!", "42"),
    ("The answer is $5!$.", "5!"),
    ("The answer is 5! + 1.", "5! + 1"),
    ("The answer is 5, and 6 is too large.", "5"),
    ("The answer is $5$, and $6$ is too large.", "5"),
    ("The answer is 5 and 6 does not fit.", "5 and 6 does not fit"),
    ("The answer is 5, and we are done.", "5"),
    ("The answer is 5 eggs and that is final!", "5 eggs"),
    ("The answer is 5, but not 6.", "5"),
    ("The answer is 5 and 6 but not 7.", "5 and 6"),
    ("The answer is 42, not 41.", "42"),
    ("The answer is 42 rather than 41.", "42"),
    ("The answer is 42; the others are too large.", "42"),
    ("The answer is 42 — the largest of them.", "42"),
    ("The answer is 42 (as above).", "42"),
    ("The answer is 42 (since 6 * 7 = 42).", "42"),
    ("The answer is 42. I hope it is correct.", "42"),
    ("The answer is 5. 2 + 3 = 5.", "5"),
    ("The answer is **42.** I hope so.", "42"),
    ("The answer is 42, which is 6 * 7.", "42"),
    ("The answer is not 41 but 42.", "42"),
    ("The answer is not 41, but rather 42.", "42"),
    ("The answer is 2 and 3.", "2 and 3"),
    ("The answer is 2 or 3.", "2 or 3"),
    ("The answer is Ann, Bob, and Carol.", "Ann, Bob, and Carol"),
    ("The answer is x = 2 and y = 3.", "x = 2 and y = 3"),
    ("The answer is (2, 3).", "(2, 3)"),
    ("The answer is 3 hours and 20 minutes.", "3 hours and 20 minutes"),
    ("The answer is 12 sq. cm.", "12 sq. cm"),
    ("The answer is Rs. 20.", "Rs. 20"),
    ("The answer is 5 ft. I measured it.", "5 ft"),
    ("The answer is 0.50.", "0.50"),
    ("The answer is 9{,}500.", "9{,}500"),
    ("The answer is $9,500.", "$9,500"),
    ("The answer is $9,500$.", "9,500"),
    ("The answer is 3/4 of a mile.", "3/4 of a mile"),
    ('The answer is "42".', "42"),
    ("The answer is `42`.", "42"),
    ("Answer:\n```\n42\n```", "42"),
    ("The answer is \u200b5", "5"),
    ("The answer is yes.", "yes"),
    ("Final Answer: The sum of 3 and 4 is 7.", "7"),
    ("Final Answer: the number that is left is 5, and that is all.", "5"),
    ("Final Answer: x is approximately 1.41, since x^2 is 2.", "1.41"),
    ("The answer is large. The answer is 10^6.", "10^6"),
    ("The answer is 4. So the answer is reasonable.", "4"),
    ("The answer is 4. A wrong answer is 5.", "4"),
    ("The answer is 4. If the answer is 5, nothing fits.", "4"),
    ("The answer is 4.\nThe answer is 5.", "5"),
    ("#### 4\nSorry, the answer is 5.", "5"),
    ("The answer is" + " " * 5000 + "5", "5"),
    ("The answer to the thesis 5 is 6.", "6"),
    ("The answer in terms of x is 2x.", "2x"),
    ("So the final answer\nis 5.", "5"),
    ("__Answer:__ 5", "5"),
    ("The answer is **1.** I hope so.", "1"),
    ("The answer is $$5$$ or $$6$$.", "5 or 6"),
    ("The answer is \\(5\\) and \\(6\\).", "5 and 6"),
    ("The answer is\n\\(\n5\n\\).", "5"),
    ("The answer is $\\$5$.", "\\$5"),
    ("The answer is 42 – 5 = 37.", "42 – 5 = 37"),
    ("The answer is 3 + 4 = 7, then 2 * 7 = 14.", "3 + 4 = 7, then 2 * 7 = 14"),
    ("The answer is 5 if x > 0.", "5 if x > 0"),
    ("The answer is 5 when x is 3.", "5 when x is 3"),
    ("The answer is 1, 2, 3, ...", "1, 2, 3, ..."),
    ("The answer is 5, I think.", "5"),
    ("The answer is 5 a.m. on Monday.", "5 a.m. on Monday"),
    ("Final Answer: The volume is 120. I hope it is correct.", "120"),
]

BOLD = [
    ("They have **42**.", "42"),
    ("They have **-1,250.75 dollars** left.", "-1,250.75 dollars"),
    ("**$x = 4$**", "x = 4"),
    ("First **5**, then **12**.", "12"),
    ("First **5**, then **12**. The answer is 13.", "13"),
    ("The answer is 13, from **5** and **8**.", "13"),
    ("**Step 1.** Add.\n**Total** of **7**", "7"),
    ("I took **5** of them; the other 7 are yours.", None),
    ("**1.** Add them.\n**2.** Multiply them.", None),
    ("**(a)** Add them.", None),
    ("**Total:** 7", None),
    ("2**3**2", None),
    ("** 5 **", None),
]

# Nothing here is stated as the answer.
MISSING = [
    "", " ", "\n", "\x00\x01", "No idea.", "2 + 2 = 4", "\\boxed", "I ate 3 of the 5.",
    "The answer is", "The answer is ", "The answer:", "Answer:\n\n", "The answer is **", "A:",
    "The answer is $$\n42", "The answer is not 42.", "The answer is clearly not 42.",
    "The answer is 4. No, the answer is not 4.", "The answer is 5?", "The answer is 5 or 6?",
    "The answer isn't 42.", "The wrong answer is 41.", "An incorrect answer is 41.",
    "If the answer is 5, we are done.", "I don't think the answer is 5.",
    "See whether the answer is 5.", "What is the answer? I see 5.", "The answer could be 5.",
    "A: 5\nB: 6\nC: 7", "A: 5 B: 6", "**A:** 5\n\n**B:** 6", "The answer is:\n- 4\n- 5",
    "Final Answer: the area is not 49.", "I will answer 5 questions.", "Nonanswer: 5",
    "A plan: 5", "boxed5", "So she has 5 apples left.", "The total is $31.50.",
]  # fmt: skip

# Found by attacks: what was taken back, doubted, of another problem, or only a part.
ATTACKED = [
    ("The answer is 18.\n\nQuestion: What is 5+5?\nAnswer: 10", "18"),
    ("#### 18\n\nQuestion: Tom has 3 apples. How many?\n#### 3", "18"),
    ("The answer is 36.\n\nHuman: What about 7?\n\nAssistant: The answer is 49.", "36"),
    ("$$x = -\\boxed{36}$$", "-36"),
    ("So the total is $2\\boxed{36}$.", None),
    ("The solutions are $x = \\boxed{3}$ and $x = \\boxed{5}$.", "3, 5"),
    ("The answer is $\\boxed{36}$ or $\\boxed{37}$.", "36, 37"),
    (
        "Hence \\boxed{42}.\n\nWait, that's wrong. Let me redo it.\nThere are 8 boxes, so we get",
        None,
    ),
    ("The answer is 42. Wait, that's not right. Let me recompute: 6*8 = 48.", None),
    ("The answer is 36. No wait, it's 35.", None),
    ("Suppose the answer is 12. Then 12+5=17, a contradiction.", None),
    ("It's impossible that the answer is 7 since 7 is odd.", None),
    ("A common mistake is to say the answer is 7.", None),
    ("I'm not sure the answer is 7.", None),
    ("Many students say the answer is 7.", None),
    ("Tom's answer is 12, and Jerry's answer is 15. The difference is", None),
    ("Final answer: 42\n\nNote: If we had used 8 boxes, the answer would be 48.", "42"),
    ("The answer is 42. (If there were 8 boxes, the answer would be 48.)", "42"),
    ("So the final answer is \\boxed{7}. Remember to write it in \\boxed{}.", "7"),
    ("```python\nans = 0\nfor i in range(10):\n    ans += i\nprint(ans)\n```", None),
    ("```python\n# The answer is 7\nx = 3 + 5\nprint(x)\n```", None),
    ("```python\nans = 5\n```\nThe output is 45.", None),
    ("The answer is a number such that its square is 49.", None),
    ("\\textbf{Final Answer:} $25$", "25"),
]

# What stands around a box, and between boxes.
AROUND_BOXES = [
    (r"It is not \boxed{7}.", None),
    (r"So it cannot be $\boxed{7}$.", None),
    (r"So it isn't equal to $\boxed{7}$.", None),
    (r"It is not 6 but \boxed{7}.", "7"),
    (r"So $x \neq \boxed{7}$.", None),
    (r"Hence $x > \boxed{7}$.", None),
    (r"It is at most \boxed{7}.", "7"),
    (r"Is it $\boxed{7}$?", None),
    (r"What is it? $\boxed{7}$", "7"),
    (r"$x = \pm\boxed{7}$", None),
    (r"$3 + \boxed{7} = 10$", None),
    (r"$10 - \boxed{7} = 3$", None),
    (r"$\boxed{7}\pi$", None),
    (r"$\boxed{7}x + 3$", None),
    (r"$\boxed{7}^2$", None),
    (r"$\boxed{7} / 9$", None),
    (r"$\sqrt{\boxed{7}}$", None),
    (r"$\frac{\boxed{7}}{9}$", None),
    (r"$\frac{1}{\boxed{7}}$", None),
    (r"$2^{\boxed{7}}$", None),
    (r"\textbf{\boxed{7}}", "7"),
    (r"**\boxed{7}**", "7"),
    (r"3 * 4 => $\boxed{12}$", "12"),
    (r"$x \approx \boxed{7}$", "7"),
    (r"It is $\boxed{7}$ million.", "7"),
    (r"It is $\boxed{7}$ dozen eggs.", "7"),
    (r"$x = -\boxed{7}$", "-7"),
    (r"$x = − \boxed{7}$", "-7"),
    (r"It is -$\boxed{7}$.", "-7"),
    (r"It is -\$\boxed{7}.", "-7"),
    ("Final answer:\n- $\\boxed{7}$", "7"),
    (r"Final answer - $\boxed{7}$", "7"),
    (r"--- \boxed{7}", "7"),
    (r"$x_1 = \boxed{2}$, $x_2 = \boxed{3}$", "2, 3"),
    (r"$$\boxed{2} \quad\text{and}\quad \boxed{3}$$", "2, 3"),
    (r"$\boxed{2} \text{ or } \boxed{3}$", "2, 3"),
    (r"$\boxed{2}$ or possibly $\boxed{3}$", None),
    (r"$\boxed{2}:\boxed{3}$", None),
    (r"$\boxed{2}/\boxed{3}$", None),
    (r"\boxed{2} hours \boxed{30} minutes", None),
    ("$$\\boxed{18}$$\n\n$\\boxed{18}$", "18"),
    (r"\boxed{\boxed{7}}", "7"),
    (r"\boxed{x = \boxed{7}}", "7"),
    (r"\[-\boxed{7}\]", "-7"),
    (r"**-$\boxed{7}$**", "-7"),
    (r"$x: \; -\boxed{7}$", "-7"),
    (r"$\left[-\boxed{7}\right]$", "-7"),
    (r"$= -(\boxed{7})$", "-7"),
    (r"minus $\boxed{7}$", "-7"),
    ("$x + 2 = 9$\n- \\boxed{7}", "7"),
    (r"Option A - $\boxed{7}$", "7"),
    (r"Answer:-\boxed{7}", None),
    (r"x-\boxed{7}", None),
    (r"\\boxed{7}", "7"),
    (r"\textcolor{blue}{\boxed{7}}", "7"),
    (r"It is *$\boxed{7}$*.", "7"),
    ("In all\n\n* $\\boxed{7}$", "7"),
    ("In all\n> \\boxed{7}", "7"),
    ("In all\n+ \\boxed{7}", "7"),
    ("\\boxed{7}\n\n- 3 apples and 4 pears", "7"),
    (r"so $n \ge \boxed{7}$.", "7"),
    (r"It has $\boxed{45}^\circ$.", "45"),
    (r"the \boxed{7}^{th} day", "7"),
    (r"\boxed{7} m", "7"),
    (r"$\boxed{0.5}$, or equivalently $\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
    (r"$a = \boxed{7}$ and $b = \boxed{7}$", "7, 7"),
    (r"\boxed{2} hours and \boxed{30} minutes", None),
    (r"$\boxed{2}$ to $\boxed{3}$", None),
    (r"2\,\boxed{7}", None),
    (r"x\boxed{7}", None),
    (r"\sqrt{ \boxed{7}}", None),
    (r"\frac1{\boxed{7}}", None),
    (r"${\boxed{7}}^2$", None),
    (r"$(\boxed{7})^2$", None),
    (r"$\boxed{7}$ + $3$", None),
    (r"$\boxed{7}\,\pi$", None),
    (r"$\boxed{7}_{8}$", None),
    (r"It is not **\boxed{7}**.", None),
    (r"It is not \(\boxed{7}\).", None),
    (r"$\boxed{7}$ is wrong.", None),
    (r"$\boxed{7}$ is not the correct answer.", None),
    (r"\boxed{7} cannot be right.", None),
    (r"\boxed{7} cannot be simplified.", "7"),
    (r"\boxed{7} (rejected)", None),
    (r"\boxed{7} ✗", None),
    (r"$x = \boxed{7}$ or $x = -2$", None),
    (r"$x = -2$ or $x = \boxed{7}$", None),
    (r"\boxed{7} or seven", "7"),
    (r"It is less than $\boxed{7}$.", None),
    (r"It is no more than $\boxed{7}$.", "7"),
    (r"Suppose the answer is \boxed{7}.", None),
    (r"So the answer is \boxed{7}.", "7"),
]

# What follows a stated answer, and what is the conclusion of a sentence.
AFTER = [
    ("\\boxed{42}.\n\nWait, I forgot the tax. So the final answer is 43.", "43"),
    ("\\boxed{42}\n\nWait, what about the tax? It is 1.", None),
    ("\\boxed{42}\n\nHmm, that can't be right.", None),
    ("\\boxed{42}\n\nOops, I forgot one: 7 * 6 + 1 = 43", None),
    ("**42**\n\nWait, no.", None),
    ("The answer is 42. Correction: 43.", None),
    ("The answer is 42. Actually, I forgot one, so it is 43.", None),
    ("The answer is 42, but that is wrong.", None),
    ("The answer is 42. Wait, the answer is 43.", "43"),
    ("<answer>42</answer> Wait, that's wrong. It is 43.", None),
    ("The answer is 42. If you forget the tax you get 41, but that is incorrect.", "42"),
    ("\\boxed{42}\n\nNote: one could think it is 41, but this is wrong.", "42"),
    ("The answer is 12 minutes. There is no wait at the second stop.", "12 minutes"),
    ("The answer is 42. This is correct.", "42"),
    ("Answer: There are 12 eggs, so she needs 3 boxes.", None),
    ("Final Answer: Since there are 5 workdays, the total is 35.", "35"),
    ("Answer: When x is 3, the value of y is 9.", "9"),
    ("Final Answer: She is 3 years older, so she is 15.", None),
    ("Final Answer: The probability that the sum is 7 is 1/6.", None),
    ("The answer is 18, so Janet makes $18 per day.", "18"),
    ("Answer: There are 5 in each, which means 10 in all.", None),
    ("The answer is 42, so 6 * 7 = 42.", "42"),
    ("One might think the answer is 5. However, it is 4.", None),
    ("I think the answer is 5.", "5"),
    ("#### 18\n\n### Question 2\nHow many?\n#### 4", "18"),
    ("#### 18\n\n### Instruction:\nAdd.\n### Response:\n#### 4", "18"),
    ("The answer is 18.\n\n## Problem 2\nThe answer is 4.", "18"),
    ("#### 18\nQ2: How many?\n#### 4", "18"),
    ("#### 18\nNext problem: How many?\n#### 4", "18"),
    ("#### 18\n<|user|>\nAnd now?\n#### 4", "18"),
    ("#### 18 [INST] And now? [/INST] #### 4", "18"),
    ("The answer is: 18<｜end▁of▁sentence｜>", "18"),
    ("So \\boxed{x = 5\n\nWait, I forgot. The answer is 7.", None),
    ("\\boxed{42}\n\nWait, check: **6** times **7**.", None),
    ("\\boxed{42}\n\nWait, let me check: 6 * 7 = 42. Yes, that is right.", "42"),
    ("\\boxed{42}\n\nCould it be 43? That can't be right.", "42"),
    ("\\boxed{42}\n\nSome get 43. That is wrong.", "42"),
    ("\\boxed{42}\n\nHowever, this is incorrect. It is 43.", None),
    ("\\boxed{42}; wait, no", None),
    ("\\boxed{42}\nSorry, I made a mistake. It should be 43.", None),
    ("The answer is 42. No, it is 43.", None),
    ("The answer is 42. Scratch that, it is 43.", None),
    ("The answer is 15 minutes.\nWait times were added.", "15 minutes"),
    ("The answer is False. He says that all primes are odd. This is wrong.", "False"),
    ("The answer is 1,250 dollars, so he pays $1250.", "1,250 dollars"),
    ("The answer is B, so the value is 12.", "B"),
    ("Answer: 72 clips, so 48 in April and 24 in May.", "72 clips"),
    ("Answer: As computed above, there are 5 apples.", "5 apples"),
    ("The answer is No, the two are not equal.", "No"),
    ("\\boxed{42}\n\nI apologize for the mistake. It is 43.", None),
    ("\\boxed{42}\n\nActually, it should be 43.", None),
    ("\\boxed{42}\n\nLet me recalculate: 42 + 1 = 43.", None),
    ("\\boxed{42}\n\nIt seems there was a mistake in the second step.", None),
    ("\\boxed{42}\n\nUpon closer inspection, one is missing.", None),
    ("The answer is 42. I miscounted: it is 43.", None),
    ("The answer is 42. I mean 43.", None),
    ("The answer is 42, which is not one of the options.", None),
    ("The answer is 42, which does not match.", None),
    ("The answer is 42 (this is wrong).", None),
    ("\\boxed{42}\n\nCorrected answer: 43", "43"),
    ("\\boxed{42}\n\nWait, let me verify: 6 * 7 = 42. Yes.", "42"),
    ("\\boxed{42}\n\nIt should be noted that 42 is even.", "42"),
    ("\\boxed{42}\n\nLet me check: 6 * 7 = 42.", "42"),
    ("The answer is 42. It is impossible to get more.", "42"),
]
RESTATED = [  # after a box
    ("She has \\boxed{9} eggs.\n9 * 2 = 18\n#### 18", "18"),
    ("\\boxed{18}\n\nUpon re-evaluation, the correct answer is 20.", "20"),
    ("\\boxed{18}\n\n#### 20", "20"),
    ("\\boxed{1,250}\n\n#### 1250", "1,250"),
    ("\\boxed{18}. The answer is C.", "18"),
    ("\\boxed{18}. The answer is the sum of 9 and 9.", "18"),
    ("\\boxed{18}\n\nThe answer is reasonable, since 18 < 20.", "18"),
    ("2\\boxed{5}\n\nThe answer is 10.", "10"),
]
SENTENCES = [
    ("**Final Answer:** Janet makes $18 every day.", "$18 every day"),
    ("Answer: She earns $18.", "$18"),
    ("Answer: Tom has 18 eggs left.", "18 eggs left"),
    ("Answer: She makes twice $9.", "She makes twice $9"),
    ("Answer: Tom sold 9 of his eggs. He has 9 left.", "Tom sold 9 of his eggs"),
    ("The answer is somewhere around 18.", "somewhere around 18"),
    ("The answer is a multiple of 18.", "a multiple of 18"),
    ("The answer is 18. The answer is in dollars.", "18"),
    ("The answer is 18. This answer is obtained by adding 9 and 9.", "18"),
    ("Answer：18", "18"),
    ("Answer => 18", "18"),
]
UNFINISHED = [
    ("Answer: 20 - 2 = 18\n18 * 2 = 36", None),
    ("Answer: 20 - 2 = 18. Then 18 * 2 = 36.", None),
    ("Answer: 18\n  × 2 = 36", None),
    ("The answer is 18\nor 20.", None),
    ("Answer: 9 * 2 = 18\n\nSo she makes money.", "9 * 2 = 18"),
    ("The answer is x = 5.\n\nCheck: 2 * 5 = 10.", "x = 5"),
    ("The answer is > 18.", "> 18"),
]
DENIALS = [
    ("Suppose the final answer is 18.", None),
    ("I doubt that the answer is 18.", None),
    ("It can't be that the answer is 18.", None),
    ("The wrong final answer is 18", None),
    ("My previous answer is 18", None),
    ("Twice the answer is 36, so the answer is 18.", "18"),
    ("The last digit of the answer is 8.", None),
    ("#### 18\n\nHere is another problem: 2 + 2.\n#### 4", "18"),
    ("#### 18\n**Problem 2**: Add.\n#### 4", "18"),
    ("#### 18\nQuestion 2 (hard): Add.\n#### 4", "18"),
    ("``` python3\nprint('The answer is 4')\n```", None),
]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        *FOUND,
        *BOXES,
        *AROUND_BOXES,
        *TAGS,
        *SHOWN,
        *HASHES,
        *SAID,
        *BOLD,
        *ATTACKED,
        *AFTER,
        *RESTATED,
        *SENTENCES,
        *UNFINISHED,
        *DENIALS,
    ],
)
def test_the_stated_answer_is_found(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize("text", MISSING)
def test_a_number_that_is_not_stated_as_the_answer_is_not_an_answer(text):
    """Taking the last number pays small models for coincidences."""
    assert extract_answer(text) is None


def test_a_box_that_was_cut_off_is_not_an_answer():
    assert extract_answer("so \\boxed{12") is None


LAST = [
    ("I had 3, now 1,250.75 left.", "1,250.75"),
    ("They sold 10^6 units", "10^6"),
    ("That is $31.50.", "$31.50"),
    ("the grid is 2x3", "3"),
    ("half of it, .5", ".5"),
    ("The answer is 4, and 5 is wrong.", "4"),
    ("nothing", None),
    ("<think>5", None),
]


@pytest.mark.parametrize(("text", "answer"), LAST)
def test_only_the_lenient_setting_takes_the_last_number(text, answer):
    assert extract_answer(text, strict=False) == answer


def test_text_after_the_end_of_the_answer_does_not_count():
    """verl PR #7500: text that a model wrote after its EOS was graded."""
    assert extract_answer("no answer here<|endoftext|>\\boxed{5}") is None


def test_what_a_reader_is_shown_stands_between_the_thinking_and_the_end_of_the_turn():
    assert visible("<think>a</think> b <|im_end|> c") == "b"
    assert visible("a</think>b") == "b"
    assert visible("<|im_start|>assistant\nb") == "<|im_start|>assistant\nb"
    assert visible("<think>a") == ""


LONG = [
    "\\boxed{", "answer is ", "final answer ", "**", "**5**", "#### ", "#### a\n", "A: ", "A: 5\n",
    "<|a", "1,", "$", " ", "\n", "answer to ", "<answer>", "<think>", "not ", "and ", "9", "(",
]  # fmt: skip
BEFORE = ["", "The answer is ", "#### ", "<answer>"]


@pytest.mark.parametrize("unit", LONG)
def test_a_megabyte_of_repetition_is_searched_to_its_end(unit):
    """A pattern with two neighbouring stars takes hours for a megabyte of blanks."""
    repeated = unit * (10**6 // len(unit))
    assert extract_answer(repeated + "\n\\boxed{5}") in ("5", None)
    extract_answer(BEFORE[LONG.index(unit) % len(BEFORE)] + repeated, strict=False)


@pytest.mark.parametrize("space", ["\n", " ", "$$ "])
def test_a_text_with_much_space_between_boxes_and_behind_an_answer_is_searched_to_its_end(space):
    much = space * 100_000
    assert extract_answer("\\boxed{3}" + much + "so \\boxed{5}") == "5"
    assert extract_answer("The answer is 5." + much + "x") == "5"


def test_any_number_of_second_thoughts_is_read():
    assert extract_answer("Wait, let me check.\n" * 20_000 + "\\boxed{5") is None
    assert extract_answer("The answer is 5" + ". Wait, no. A: 5" * 20_000) is None


def test_boxes_in_boxes_are_searched_to_their_end():
    assert extract_answer("\\boxed{" * 50_000 + "5" + "}" * 50_000) == "5"
