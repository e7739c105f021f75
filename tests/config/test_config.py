"""Configs: inheritance, overrides, types and the sentences for what is wrong."""

import pytest

from ppeconv import UserError
from ppeconv import config as configs
from ppeconv.registry import DATASETS, LOSSES
from ppeconv.schema import values
from ppeconv.schema.values import from_yaml

NAME = "resnet18_spconv_cifar100"


def test_inherits_and_overrides():
    config = configs.load(NAME, ["Global.epochs=3", "Operator.ratio=0.25", "Optimizer.lr.learning_rate=3e-4"])
    assert config.Arch.name == "ResNet18"
    assert config.Arch.arguments == {"stem": "cifar"}
    assert config.Global.epochs == 3
    assert config.operators[0].arguments == {"ratio": 0.25}
    assert config.Optimizer.lr.arguments["learning_rate"] == 3e-4
    assert config.Optimizer.arguments["regularizer"] == {"name": "L2", "coeff": 5e-4}


@pytest.mark.parametrize("name", configs.shipped())
def test_shipped_config(name):
    path = configs.find(name)
    assert configs.load(name).Arch.name
    assert len(path.read_text("utf-8").splitlines()) <= 30


@pytest.mark.parametrize(
    "name",
    [
        "resnet18_spconv_cifar10",
        "resnet20_spconv_cifar10",
        "lenet_conv_mnist",
        "lenet_spconv_digits",
        "resnet18_spconv_cifar10_source003",
    ],
)
def test_promised_names_exist(name):
    assert name in configs.shipped()


def test_dump_reads_back_the_same(tmp_path):
    config = configs.with_values(configs.load(NAME), {"Arch.class_num": 3, "Infer.class_names": ["no", "1e3", "ja"]})
    (tmp_path / "config.yaml").write_text(configs.dump(config), "utf-8")
    assert configs.load(str(tmp_path / "config.yaml")) == config


@pytest.mark.parametrize("text", ["3e-4", "1E5", "-2e3", "3.0e-4", ".5", "1e+3"])
def test_numbers_are_numbers(text, tmp_path):
    values = from_yaml(f"a: {text}\nb: '{text}'\n", "a.yaml")
    assert values == {"a": float(text), "b": text}


def test_another_name_drops_the_arguments_of_the_first(tmp_path):
    base = configs.find(NAME)
    (tmp_path / "a.yaml").write_text(
        f"_base_: {base}\nOptimizer: {{name: Adam, lr: {{name: Constant, learning_rate: 3e-4}}}}\n", "utf-8"
    )
    config = configs.load(str(tmp_path / "a.yaml"))
    assert config.Optimizer.name == "Adam"
    assert config.Optimizer.arguments == {}


def test_list_items_by_position():
    config = configs.load(NAME, ["DataLoader.Train.dataset.transform_ops.0.RandomCrop.padding=2"])
    assert config.DataLoader.Train.dataset.transform_ops[0]["RandomCrop"]["padding"] == 2


def test_values_are_never_evaluated():
    config = configs.load(NAME, ["Global.output_dir=__import__('os').getcwd()"])
    assert config.Global.output_dir == "__import__('os').getcwd()"
    with pytest.raises(UserError, match="not valid YAML"):
        configs.load(NAME, ["Global.output_dir=!!python/object/apply:os.getcwd []"])


def test_a_config_does_not_change():
    config = configs.load(NAME)
    with pytest.raises(ValueError, match="frozen"):
        config.Global.epochs = 5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("Global.epoch=1", "Global has no key 'epoch'; did you mean 'epochs'"),
        ("Globl.epochs=1", "no key 'Globl'; did you mean 'Global'"),
        ("Global.epochs=ten", "Global.epochs should be an integer from 1 to 1,000,000,000; got 'ten'"),
        ("Global.epochs=1.5", "Global.epochs should be an integer from 1"),
        ("Global.epochs=0", "an integer from 1 to 1,000,000,000; got 0"),
        ("Global.use_visualdl=1", "Global.use_visualdl should be true or false; got 1"),
        ("Global.device=tpu", "Global.device should be 'auto', 'cpu' or 'gpu'; got 'tpu'"),
        ("Global.epochs", "-o takes Section.key=value"),
        ("=1", "-o takes Section.key=value"),
        ("Global.seed=[1", "the value of -o Global.seed is not valid YAML"),
        ("Arch.name=ResNet81", "no backbone called 'ResNet81'; did you mean 'ResNet18'"),
        ("Arch.stm=cifar", "ResNet18 has no key 'stm'; did you mean 'stem'"),
        ("Arch.stem=cifr", "ResNet18.stem should be 'imagenet' or 'cifar'; got 'cifr'"),
        ("Arch.width=wide", "ResNet18.width should be a number above 0 and at most 16"),
        ("Arch.class_num=0", "Arch.class_num should be an integer from 1 to 1,000,000, or null"),
        ("Operator.name=SPCon", "recalibration block or head called 'SPCon'; did you mean 'SPConv'"),
        ("Operator.ration=0.5", "SPConv has no key 'ration'; did you mean 'ratio'"),
        ("Operator.rules.pair=true", "no key 'pair'; did you mean 'pairs'"),
        ("Operator.rules.groups=dens", "rules.groups should be 'dense', 'grouped', 'depthwise' or 'any'"),
        ("Optimizer.name=Momentun", "no optimizer called 'Momentun'; did you mean 'Momentum'"),
        ("Optimizer.momentun=0.9", "Momentum has no key 'momentun'; did you mean 'momentum'"),
        ("Optimizer.lr.name=Cosin", "no learning rate schedule called 'Cosin'; did you mean 'Cosine'"),
        ("Optimizer.lr.warmup=1", "Cosine has no key 'warmup'; did you mean 'warmup_epoch'"),
        ("Optimizer.regularizer.coef=1", "no key 'coef'; did you mean 'coeff'"),
        ("DataLoader.Train.dataset.name=Cifar", "no data set called 'Cifar'; did you mean 'Cifar10'"),
        ("DataLoader.Train.dataset.rot=x", "Cifar100 has no key 'rot'"),
        ("DataLoader.Train.sampler.batchsize=8", "no key 'batchsize'; did you mean 'batch_size'"),
        ("DataLoader.Train.dataset.transform_ops.0.RandomCrp.size=1", "is written 'Name: {arguments}'"),
        ("DataLoader.Train.dataset.transform_ops.9=1", "a list of 3; '9' is not one of its positions 0 to 2"),
        ("DataLoader.Train.dataset.transform_ops=[{RandomCrp: {size: 32}}]", "did you mean 'RandomCrop'"),
        ("DataLoader.Eval.loader.num_workers=-1", "an integer from 0 to 256"),
        ("Loss.Train=[{CELos: {}}]", "no loss called 'CELos'; did you mean 'CELoss'"),
        ("Loss.Train.0.CELoss.eps=0.1", "CELoss has no key 'eps'; did you mean 'epsilon'"),
        ("Metric.topk=1", "Metric.topk should be a list of at least 1, each an integer from 1"),
        ("AMP.level=O3", "AMP.level should be 'O1' or 'O2'"),
        ("format=99", "format 99, and this ppeconv reads format 1"),
        ("Global.epochs.x=1", "Global.epochs is the value 200 and has no key 'x'"),
    ],
)
def test_wrong_values_are_named(override, words):
    with pytest.raises(UserError) as error:
        configs.load(NAME, [override])
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Arch: {name: LeNet", "not valid YAML in line"),
        ("- 1", "should hold sections"),
        ("", "should hold sections"),
        ("_base_: nowhere.yaml", "cannot read the config"),
        ("_base_: a.yaml", "has itself as _base_"),
        ("Arch: {name: LeNet}", "is required and was not given"),
        ("\ud800".encode("utf-16", "surrogatepass").decode("latin-1"), "not valid YAML"),
    ],
)
def test_broken_files(text, words, tmp_path):
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    with pytest.raises(UserError, match=words):
        configs.load(str(tmp_path / "a.yaml"))


OWN = "_base_: [lenet_spconv_digits]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Global: {seed: 1, seed: 2}", "line 2: the key 'seed' is there twice"),
        ("Global: {seed: 1}\nGlobal: {epochs: 2}", "line 3: the key 'Global' is there twice"),
        ("Operator: {name: SPConv, 'ratio': 0.5, ratio: 0.25}", "line 2: the key 'ratio' is there twice"),
        ("Global: {seed: 0x10}", "Global.seed should be an integer .*; got '0x10'"),
        ("Global: {seed: 010}", "Global.seed should be an integer .*; got '010'"),
        ("Global: {epochs: 1:30}", "Global.epochs should be an integer .*; got '1:30'"),
        ("Global: {seed: !!int abc}", "line 2: 'abc' cannot be read as int"),
        (f"Global: {{seed: {'9' * 5000}}}", "line 2: '9{40}' cannot be read as int"),
        ("Global: !!timestamp x", "line 2: 'x' cannot be read as timestamp"),
        ('Global: {output_dir: "a\\0b"}', "Global.output_dir should be a string, not empty, without a NUL"),
        (f"Global: {{output_dir: {'卷' * 86}}}", "with names of at most 255 bytes"),
        ("[" * 5000, "not valid YAML|nested too deeply"),
        (f"Global: {'{a: ' * 5000}1{'}' * 5000}", "nested too deeply"),
        ("Global: &a {output_dir: [*a]}", "nested too deeply"),
        (
            "\n".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}' if i else '1'] * 10)}]" for i in range(9)),
            "100,000 values",
        ),
        ("Global: {1: 2}", "Global has the key 1, and keys are text"),
        ("DataLoader: {Eval: []}", "DataLoader.Eval should be a mapping"),
        ("Loss: {Train: [{CELoss: 5}]}", "CELoss should be a mapping"),
        ("Loss: {Train: []}", "Loss.Train should be a list of at least 1"),
        ("Operator: [{name: SPConv, rules: 1}]", "Operator.0.rules should be a mapping"),
    ],
)
def test_odd_yaml_is_refused(text, words, tmp_path):
    (tmp_path / "a.yaml").write_text(OWN + text, "utf-8")
    with pytest.raises(UserError, match=words):
        configs.load(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("bases", ["5", '"\\0"', "null", "true", "[1]", "[[a]]", "{a: b}"])
def test_bases_are_files(bases, tmp_path):
    (tmp_path / "a.yaml").write_text(f"_base_: {bases}\n", "utf-8")
    with pytest.raises(UserError, match="should be a file or a list of files; got"):
        configs.load(str(tmp_path / "a.yaml"))


def test_a_date_is_text_and_a_merged_key_may_be_set_again(tmp_path):
    (tmp_path / "a.yaml").write_text(f"{OWN}Global: {{<<: &a {{seed: 1}}, seed: 2, output_dir: 2024-99-99}}\n", "utf-8")
    config = configs.load(str(tmp_path / "a.yaml"))
    assert (config.Global.seed, config.Global.output_dir) == (2, "2024-99-99")


def test_an_anchor_gives_two_values_not_one(tmp_path):
    (tmp_path / "a.yaml").write_text(
        f"{OWN}DataLoader: {{Train: {{loader: &a {{num_workers: 1}}}}, Eval: {{loader: *a}}}}\n", "utf-8"
    )
    config = configs.load(str(tmp_path / "a.yaml"), ["DataLoader.Train.loader.num_workers=2"])
    assert (config.DataLoader.Train.loader.num_workers, config.DataLoader.Eval.loader.num_workers) == (2, 1)


def test_a_base_is_read_once_and_a_chain_has_an_end(tmp_path):
    for number in range(30):
        (tmp_path / f"twice{number}.yaml").write_text(f"_base_: [twice{number + 1}.yaml, twice{number + 1}.yaml]")
    (tmp_path / "twice30.yaml").write_text(OWN)
    assert configs.load(str(tmp_path / "twice0.yaml")) == configs.load("lenet_spconv_digits")
    for number in range(1500):
        (tmp_path / f"chain{number}.yaml").write_text(f"_base_: chain{number + 1}.yaml")
    with pytest.raises(UserError, match="more than 50 times over"):
        configs.load(str(tmp_path / "chain0.yaml"))


@pytest.mark.parametrize(
    "bases", ["[lenet_spconv_digits]", "lenet_spconv_digits.yaml", "[_base_/datasets/digits.yaml, lenet_spconv_digits]"]
)
def test_shipped_configs_are_bases_from_any_folder(bases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(f"_base_: {bases}\nGlobal: {{epochs: 7}}\n", "utf-8")
    config = configs.load("own.yaml")
    assert config.Global.epochs == 7
    assert config.operators == configs.load("lenet_spconv_digits").operators


def test_a_file_beside_a_config_comes_before_a_shipped_one(tmp_path):
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "runtime.yaml").write_text("Global: {seed: 7}\n", "utf-8")
    (tmp_path / "own.yaml").write_text("_base_: [lenet_conv_digits, _base_/runtime.yaml]\n", "utf-8")
    assert configs.load(str(tmp_path / "own.yaml")).Global.seed == 7


def test_an_unknown_base_suggests(tmp_path):
    (tmp_path / "own.yaml").write_text("_base_: [lenet_spconv_digts]\n", "utf-8")
    with pytest.raises(UserError, match=r"no shipped config has that path or name; did you mean 'lenet_spconv_digits'"):
        configs.load(str(tmp_path / "own.yaml"))


def test_home_is_expanded_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").write_text("_base_: ~/base.yaml\n", "utf-8")
    (tmp_path / "base.yaml").write_text(OWN, "utf-8")
    keys = ["output_dir", "data_root", "checkpoints", "pretrained_model", "save_inference_dir"]
    config = configs.load("~/own.yaml", [*[f"Global.{key}=~/a" for key in keys], "Arch.pretrained=~/a"])
    assert {getattr(config.Global, key) for key in keys} | {config.Arch.pretrained} == {f"{tmp_path}/a"}
    assert LOSSES.check("DistillLoss", {"teacher": "~/a"}) == {"teacher": f"{tmp_path}/a"}
    paths = {"image_root": "~/a", "cls_label_path": "~/b"}
    assert DATASETS.check("ImageList", paths) == {"image_root": f"{tmp_path}/a", "cls_label_path": f"{tmp_path}/b"}
    assert configs.load("lenet_spconv_digits", ["Global.output_dir=a~b"]).Global.output_dir == "a~b"


@pytest.mark.parametrize(
    ("overrides", "operator"),
    [
        (["Operator.name=GhostConv"], {"name": "GhostConv"}),
        (["Operator.name=GhostConv", "Operator.ratio=3"], {"name": "GhostConv", "ratio": 3}),
        (["Operator.ratio=3", "Operator.name=GhostConv"], {"name": "GhostConv", "ratio": 3}),
        (["Operator.rules.min_kernel=3", "Operator.name=Mix"], {"name": "Mix", "rules": {"min_kernel": 3}}),
        (["Operator.name=SPConv"], {"name": "SPConv", "ratio": 0.5}),
        (["Operator.name=spconv"], {"name": "spconv", "ratio": 0.5}),
        (["Operator.gwc_groups=4"], {"name": "SPConv", "ratio": 0.5, "gwc_groups": 4}),
        (["Operator={name: SPConv, ratio: 0.25}", "Operator.name=GhostConv"], {"name": "GhostConv"}),
        (["Operator.name=GhostConv", "Operator={name: SPConv, ratio: 0.25}"], {"name": "SPConv", "ratio": 0.25}),
        (["Operator=[{name: SPConv, ratio: 0.25}]", "Operator.0.name=GhostConv"], {"name": "GhostConv"}),
    ],
)
def test_another_name_on_the_command_line_drops_arguments(overrides, operator):
    (section,) = configs.load("lenet_spconv_digits", overrides).operators
    assert {key: value for key, value in section.model_dump().items() if value is not None} == operator


def test_every_named_section_drops_arguments_and_keeps_its_own_keys():
    config = configs.load(
        NAME,
        [
            "Optimizer.lr.learning_rate=0.2",
            "Optimizer.lr.name=Constant",
            "Optimizer.name=Adam",
            "Arch.class_num=7",
            "Arch.name=LeNet",
            "DataLoader.Train.dataset.val_ratio=0.5",
            "DataLoader.Train.dataset.name=Cifar10",
        ],
    )
    assert (config.Optimizer.lr.name, config.Optimizer.lr.arguments) == ("Constant", {"learning_rate": 0.2})
    assert (config.Optimizer.name, config.Optimizer.arguments) == ("Adam", {})
    assert (config.Arch.name, config.Arch.class_num, config.Arch.arguments) == ("LeNet", 7, {})
    dataset = config.DataLoader.Train.dataset
    assert (dataset.name, dataset.arguments) == ("Cifar10", {"val_ratio": 0.5})
    assert dataset.transform_ops == configs.load(NAME).DataLoader.Train.dataset.transform_ops


def test_missing_config_suggests():
    with pytest.raises(UserError, match="did you mean 'resnet18_spconv_cifar10'"):
        configs.load("configs/resnet18_spcnv_cifar10.yaml")


def test_what_is_too_much_is_known_before_all_is_read(tmp_path, monkeypatch):
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(2**22 + 1)
    with pytest.raises(UserError, match="4,194,305 bytes, and files of its kind have at most 4,194,304"):
        configs.load(str(tmp_path / "a.yaml"))
    monkeypatch.setattr(values, "_MOST", 10)
    assert values.from_yaml("{a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9}", "it")["i"] == 9
    with pytest.raises(UserError, match="it holds more than 10 values"):
        values.from_yaml("[" + "1, " * 30 + "}", "it")
