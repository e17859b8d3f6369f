"""Joining the process group, and norms in it."""

import pytest
import torch
from mmengine.config import Config
from torch.testing._internal.distributed.fake_pg import FakeStore

from attnpool_mm.engine import distributed
from attnpool_mm.utils.errors import ConfigError


class TestDistributed:
    @pytest.mark.parametrize(
        ("launcher", "word", "advice"),
        [
            ("pytorch", "RANK", "dist_train.sh"),
            ("slurm", "SLURM_PROCID", "slurm_train.sh"),
            ("mpi", "OMPI_COMM_WORLD_RANK", "mpirun"),
        ],
    )
    def test_launcher_needs_its_environment(self, clean, launcher, word, advice):
        distributed.setup_distributed(Config({"launcher": "none"}))
        with pytest.raises(
            ConfigError, match=f"--launcher {launcher}: {word}.*{advice}"
        ):
            distributed.setup_distributed(Config({"launcher": launcher}))

    @pytest.fixture
    def clean(self, monkeypatch):
        """No variable of a launcher, before and after."""
        names = [name for table in distributed.ENVIRONMENT.values() for name in table]
        names += [name for t in distributed.ENVIRONMENT.values() for name in t.values()]
        for name in {*names, "MASTER_ADDR", "MASTER_PORT", "SLURM_NODELIST"}:
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        yield monkeypatch
        distributed.leave_distributed()

    def give(self, monkeypatch, launcher):
        values = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        for name, source in distributed.ENVIRONMENT[launcher].items():
            monkeypatch.setenv(source, values[name])
        if launcher == "pytorch":
            monkeypatch.setenv("WORLD_SIZE", "1")
            monkeypatch.setenv("MASTER_PORT", "0")
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU MMEngine does it")
    @pytest.mark.parametrize("launcher", ["pytorch", "slurm"])
    def test_process_group_on_the_cpu(self, clean, launcher):
        self.give(clean, launcher)
        cfg = Config({"launcher": launcher, "find_unused_parameters": True})
        cfg.env_cfg = {"dist_cfg": {"port": 0}}
        cfg.model_wrapper_cfg = {"broadcast_buffers": True}
        distributed.setup_distributed(cfg)
        assert torch.distributed.get_backend() == "gloo"
        assert torch.distributed.get_world_size() == 1
        distributed.leave_distributed()
        assert not torch.distributed.is_initialized()
        assert cfg.model_wrapper_cfg.to_dict() == {
            "type": "MMDistributedDataParallel",
            "device_ids": None,
            "broadcast_buffers": True,
            "find_unused_parameters": True,
        }

    @pytest.mark.parametrize("machines", [None, "node[1-2]"])
    def test_first_machine_unknown(self, clean, machines):
        self.give(clean, "slurm")
        clean.delenv("MASTER_ADDR")
        clean.setenv("PATH", "")  # no scontrol
        if machines:
            clean.setenv("SLURM_NODELIST", machines)
        with pytest.raises(ConfigError, match="slurm: MASTER_ADDR .*scontrol"):
            distributed.setup_distributed(Config({"launcher": "slurm"}))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU SyncBN runs")
    def test_sync_bn_in_one_process_on_the_cpu(self, clean):
        self.give(clean, "pytorch")
        norm = {"type": "SyncBN", "requires_grad": True}
        model = {"backbone": {"norm_cfg": norm}, "heads": [{"norm_cfg": dict(norm)}]}
        cfg = Config({"launcher": "pytorch", "model": model, "sync_bn": "torch"})
        distributed.setup_distributed(cfg)
        distributed.adapt_norms(cfg, training=True)
        norms = [cfg.model.backbone.norm_cfg, cfg.model.heads[0].norm_cfg]
        assert norms == [{"type": "BN", "requires_grad": True}] * 2
        assert cfg.sync_bn is None

    @pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU SyncBN runs")
    def test_sync_bn_in_several_processes_on_the_cpu(self):
        store = FakeStore()  # PyTorch's process group that talks to nobody
        torch.distributed.init_process_group("fake", rank=0, world_size=2, store=store)
        try:
            for config, key in (
                ({"model": {"norm_cfg": {"type": "mmcv.SyncBN"}}}, ".*type='SyncBN'"),
                ({"model": {}, "sync_bn": "torch"}, "sync_bn: "),
            ):
                cfg = Config({"launcher": "pytorch", **config})
                distributed.adapt_norms(cfg, training=False)
                cfg = Config({"launcher": "pytorch", **config})
                with pytest.raises(ConfigError, match=f"^{key}"):
                    distributed.adapt_norms(cfg, training=True)
        finally:
            distributed.leave_distributed()

    def test_sync_bn_without_a_launcher_is_mmengines(self):
        cfg = Config({"launcher": "none", "model": {"norm_cfg": {"type": "SyncBN"}}})
        distributed.adapt_norms(cfg, training=True)
        assert cfg.model.norm_cfg.type == "SyncBN"
