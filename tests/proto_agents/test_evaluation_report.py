import base64
import re
from xml.etree import ElementTree

import pytest
import torch

from proto_agents.cli.episode_videos import chosen_episodes, ranking
from proto_agents.cli.evaluation_files import failed_clips
from proto_agents.config import EnvironmentConfig, Experiment
from proto_agents.evaluation import EpisodeRecord, EvaluationConfig, evaluate, summarize
from proto_agents.evaluation.charts import clip_chart, distribution_chart, svg_of, time_chart
from proto_agents.evaluation.curves import CurveEvaluator
from proto_agents.evaluation.html import Page, Video, render_page
from proto_agents.evaluation.labels import grouped, label_of


def still(observations):
    return torch.zeros(len(observations["policy"]), 1)


@pytest.fixture
def watched(point_env):
    """A report of two seeds, and the curves of it."""
    curves = CurveEvaluator(("mpjpe_mm", "absent"))
    config = EvaluationConfig(seed=3, seeds=2)
    return evaluate(point_env(6), still, config, evaluators=[curves], intervals=True), curves


def episodes(**columns):
    given = {"mean_return": [0.0] * 4, "mean_episode_length": [300.0] * 4} | columns
    tensors = {name: torch.tensor(values) for name, values in given.items()}
    return EpisodeRecord(seed=0, columns=tensors, metrics={}, maxima={}, numbers={}, clips=None)


def test_curves_are_quantiles_of_the_first_episodes(point_env):
    env, kept = point_env(5), []

    class Keep(CurveEvaluator):
        def step(self, transition, active):
            super().step(transition, active)
            kept.append([m for m, a in zip(transition.metrics["mpjpe_mm"].tolist(), active.tolist(), strict=True) if a])

    curves = Keep(("mpjpe_mm",))
    evaluate(env, still, EvaluationConfig(seed=1), evaluators=[curves])
    found = curves.curves()["mpjpe_mm"]
    assert len(found.middle) == len(kept) and any(len(row) < 5 for row in kept)
    for step, row in enumerate(kept):
        want = torch.tensor(row).quantile(torch.tensor([0.1, 0.5, 0.9]))
        got = torch.stack([found.low[step], found.middle[step], found.high[step]])
        torch.testing.assert_close(got, want)


def test_who_failed_never_comes_back(watched):
    _, curves = watched
    unfailed = curves.unfailed()
    assert unfailed[0] <= 1.0 and bool((unfailed.diff() <= 0).all())
    assert curves.step_seconds == pytest.approx(0.1) and curves.clip_names == ("even", "odd")


def test_charts_are_svg_and_the_same_each_time(watched):
    report, curves = watched
    figures = (time_chart(curves.curves(), curves.unfailed(), 0.1), distribution_chart(report), clip_chart(report))
    texts = [svg_of(figure) for figure in figures]
    for text in texts:
        ElementTree.fromstring(text)
    again = svg_of(distribution_chart(report))
    assert again == texts[1] and "MPJPE (mm)" in texts[1]
    names = [set(re.findall(r'id="(p[0-9a-f]{6,})"', text)) for text in texts]
    assert not names[0] & names[1], "parts of two charts on one page must not share names"


def test_a_page_stands_alone(watched):
    report, _ = watched
    page = Page(title="<run>", subtitle="a & b", report=report, videos=[Video("best", "episode 1", b"mp4 data")])
    text = render_page(page)
    assert "&lt;run&gt;" in text and "a &amp; b" in text and "<run>" not in text
    assert base64.b64encode(b"mp4 data").decode() in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text), "nothing is fetched from elsewhere"
    low, high = (label_of("mpjpe_mm").format(bound) for bound in report.intervals["mpjpe_mm"])
    assert f"{low} to {high}" in text and "even" in text


def test_numbers_have_groups_and_none_is_lost():
    groups = grouped(["mpjpe_mm", "reward/position", "own_number", "skill_confusion/a/b"], ["skill_confusion/a/b"])
    assert groups["Tracking"] == ["mpjpe_mm"] and groups["Rewards, mean of each step"] == ["reward/position"]
    assert groups["Others"] == ["own_number", "skill_confusion/a/b"]
    assert "Others" not in grouped(["skill_confusion/a/b"])


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.0"), (43.27, "43.3"), (0.00312, "0.003"), (-0.2, "-0.2")])
def test_a_small_number_is_not_shown_as_nothing(value, text):
    assert label_of("mpjpe_mm").format(value) == text


def test_the_worst_episode_is_the_one_that_failed_soonest():
    upright = torch.tensor([True, True, True, True])
    record = episodes(
        survival_rate=[True, True, False, True],
        success_rate=[True, True, False, False],
        mpjpe_mm=[50.0, 40.0, 30.0, 900.0],
        mean_episode_length=[300.0, 300.0, 20.0, 300.0],
    )
    assert ranking(record) == [1, 0, 3, 2] and upright.all()
    assert chosen_episodes(record) == {"best": 1, "median": 3, "worst": 2}
    by_return = episodes(survival_rate=[True] * 4, mean_return=[1.0, 4.0, 3.0, 2.0])
    assert ranking(by_return) == [1, 2, 3, 0]


def test_failed_clips_are_named_by_the_files_that_they_came_from():
    record = episodes(survival_rate=[True] * 4, success_rate=[True, False, False, True])
    record = EpisodeRecord(**{**vars(record), "clips": torch.tensor([0, 1, 2, 0])})
    report = summarize([record], ("walk", "kick", "run"))
    experiment = Experiment(env=EnvironmentConfig(motions=("walk", "clips/kick.npz", "run")))
    lines = failed_clips(experiment, report, "proto-eval x").splitlines()
    assert lines[0].startswith("#") and lines[1:] == ["clips/kick.npz", "run"]
