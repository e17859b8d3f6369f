#!/usr/bin/env bash
# One step of the Makefile's set-up: `install.sh STEP`, with PYTHON, VENV, PACKAGES,
# MAX_JOBS and TORCH_CPU_INDEX in the environment.
#
# What the installers say goes to $VENV/install.log; of a step that fails the end of it is
# printed. uv installs where it is on PATH, and pip where it is not or cannot. MMCV is
# always pip's, whose cache keeps what took minutes to compile.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$VENV/bin/python
log=$VENV/install.log
tried="-c requirements/tried.txt" # of single words, as $index below
mmcv=$(grep -o '^[a-z-]*mmcv' "requirements/$PACKAGES.txt")
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off
export MAX_JOBS CFLAGS="${CFLAGS--g0}" # for whatever is compiled

logged() {
    printf '\n$ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1
}

run() { logged "$@" || fail $?; }

fail() {
    tail -n 20 "$log" >&2
    echo "error: this step failed; all that was said is in $log" >&2
    exit "$1"
}

pip() { run "$python" -m pip "$@"; }

install() {
    if [ -z "${PIP_NO_INDEX-}" ] && command -v uv >/dev/null; then
        logged uv pip install --python "$python" $tried "$@" && return
        echo "      uv could not; pip tries"
    fi
    pip install $tried "$@"
}

# uv reads none of pip's variables.
as_uv() { [ -z "$2" ] || export "$1=${!1-$2}"; }
as_uv UV_DEFAULT_INDEX "${PIP_INDEX_URL-}"
as_uv UV_INDEX "${PIP_EXTRA_INDEX_URL-}"
as_uv UV_FIND_LINKS "$(echo ${PIP_FIND_LINKS-} | tr ' ' ,)"
as_uv UV_CONSTRAINT "${PIP_CONSTRAINT-}"
as_uv SSL_CERT_FILE "${PIP_CERT-}"
as_uv UV_INDEX_STRATEGY unsafe-best-match # as pip: the newest of all indexes

# Where PyTorch's build would bring CUDA, and no GPU is there for it
cpu_is_enough() {
    [ "$(uname -sm)" = "Linux x86_64" ] && ! nvidia-smi -L >/dev/null 2>&1
}

answers() {
    "$python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)' \
        "$1" >/dev/null 2>&1
}

ops_load() { "$python" -c 'import mmcv.ops' >/dev/null 2>&1; }

step_venv() {
    echo "Python environment in $VENV (seconds)"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10) and
        "error: PYTHON is %d.%d: 3.10 or newer is needed" % sys.version_info[:2])'
    "$PYTHON" -m venv "$VENV"
    echo "$PACKAGES" >"$VENV/.packages"
}

step_torch() {
    local index=
    if cpu_is_enough && [ -z "${PIP_INDEX_URL-}${PIP_NO_INDEX-}" ] &&
        [ -n "$TORCH_CPU_INDEX" ] && answers "$TORCH_CPU_INDEX/torch/"; then
        echo "PyTorch, its build for CPUs, and the build tools (1 to 2 minutes)"
        index="--extra-index-url $TORCH_CPU_INDEX"
    else
        echo "PyTorch and the build tools (1 to 4 minutes; 7 GB where it brings CUDA)"
    fi
    install $index -r requirements/torch.txt -r requirements/build.txt numpy
}

# For classifiers: no MMDetection, and MMCV without its operators. OneDL has no package
# of that kind, but in an isolated build, where no PyTorch is, MMCV leaves them out.
# That wheel must not get into pip's cache, where the whole one is looked for.
step_classifier() {
    echo "MMEngine, MMPretrain, MMCV without its operators (1 minute)"
    local packages=$VENV/classifier.txt
    grep -v -e mmcv -e mmdet "requirements/$PACKAGES.txt" >"$packages"
    install --no-build-isolation -r "$packages" -r requirements/demo.txt
    if [ "$mmcv" = mmcv ]; then
        install "$(sed -n 's/^mmcv/mmcv-lite/p' "requirements/$PACKAGES.txt")"
    else
        pip install --no-cache-dir $tried "$mmcv"
    fi
    install --no-build-isolation -e '.[demo]'
}

step_mmcv() {
    if ops_load; then
        echo "MMCV: its operators are there"
        return
    fi
    echo "MMCV, its operators compiled here (5 to 12 minutes;" \
        "seconds if pip has the wheel in its cache)"
    compile_mmcv
    if ! ops_load; then
        echo "      again, against this PyTorch (5 to 12 minutes)"
        compile_mmcv --no-cache-dir
        run "$python" -c 'import mmcv.ops'
    fi
}

# What was there without operators stays until the wheel with them is made. From then on
# the classifier's environment is none, if this ends too early, and is made again.
compile_mmcv() {
    rm -rf "$VENV/wheels"
    pip wheel --no-deps --no-build-isolation $tried -w "$VENV/wheels" "$@" "$mmcv"
    rm -f "$VENV/.stamp-classifier"
    pip uninstall -y "$mmcv" mmcv-lite
    pip install $tried --find-links "$VENV/wheels" --only-binary "$mmcv" "$mmcv"
    rm -r "$VENV/wheels"
}

step_openmmlab() {
    echo "MMEngine, MMDetection, MMPretrain (1 minute)"
    install --no-build-isolation -r "requirements/$PACKAGES.txt"
}

step_project() {
    echo "attnpool_mm itself, editable (seconds)"
    install --no-build-isolation -e '.[demo,cam,onnx,prune,robustness,dev,docs]'
}

step_micro() {
    echo "LiteRT and TensorFlow Lite Micro in $VENV (some minutes, 8 GB)"
    "$PYTHON" -m venv "$VENV"
    tried=
    install -r requirements/micro.txt
}

"step_$1"
echo "      $SECONDS s"
