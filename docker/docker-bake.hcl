# docker buildx bake -f docker/docker-bake.hcl [cpu | gpu | TARGET], from the repository's root; `make build` calls it.
variable "HEARTH_REGISTRY" { default = "" }             # with its slash: ghcr.io/me/
variable "HEARTH_VERSION" { default = "0.1.0" }
variable "HEARTH_RECIPE" { default = "" }               # default: the recipe of the target's profile
variable "HEARTH_BACKEND" { default = "" }              # gptqmodel or auto-gptq, as part of the tag; default: the recipe's
variable "HEARTH_WEIGHTS" { default = "" }              # a folder with an artifact: nothing is quantized in the build
variable "HEARTH_WARM" { default = "" }                 # a folder of compiled kernels, by `make warm`
variable "HEARTH_WHEELS" { default = "docker/wheels" }  # a folder with local wheels, or none
variable "HEARTH_CA" { default = "/dev/null" }          # a CA bundle
variable "HEARTH_ACCELERATOR" { default = "cpu" }       # of the quantizer
# `make push` sets these. Elsewhere they stay out of the labels: a commit that leaves an image's content alone must leave
# the image alone, or Compose would start its container anew.
variable "HEARTH_SOURCE" { default = "" }
variable "HEARTH_REVISION" { default = "" }
variable "HEARTH_CREATED" { default = "" }
variable "HEARTH_BASE_DIGEST" { default = "" }

BASE = "docker.io/library/debian:bookworm-slim"

function "image" {
  params = [name, tag]
  result = ["${HEARTH_REGISTRY}${name}:${tag}"]
}

function "recipe" {
  params = [default]
  result = HEARTH_RECIPE == "" ? default : HEARTH_RECIPE
}

function "suffix" {
  params = []
  result = HEARTH_BACKEND == "" ? "" : "-${HEARTH_BACKEND}"
}

# Labels stand in an image's configuration alone: none of them makes a layer stale.
function "labels" {
  params = [title, description]
  result = {
    for name, value in {
      title       = title
      description = description
      version     = HEARTH_VERSION
      source      = HEARTH_SOURCE
      revision    = HEARTH_REVISION
      created     = HEARTH_CREATED
      "base.name" = BASE
    } : "org.opencontainers.image.${name}" => value if value != ""
  }
}

group "cpu" { targets = ["engine-cpu", "gateway"] }
group "gpu" { targets = ["engine-cuda", "gateway"] }
group "tools" { targets = ["tool"] }
group "scale" { targets = ["router", "state"] }

target "common" {
  context    = "."
  dockerfile = "docker/Dockerfile"
  contexts = merge(
    { wheels = HEARTH_WHEELS },
    HEARTH_WEIGHTS == "" ? {} : { weights = HEARTH_WEIGHTS },
    HEARTH_WARM == "" ? {} : { warm = HEARTH_WARM },
  )
  secret = ["id=ca,src=${HEARTH_CA}", "id=hf_token,env=HF_TOKEN"]
}

target "engine-cpu" {
  inherits = ["common"]
  target   = "engine-cpu"
  args     = { RECIPE = recipe("tiny"), BACKEND = HEARTH_BACKEND, ACCELERATOR = "cpu" }
  tags     = image("hearth-engine", "${HEARTH_VERSION}-${recipe("tiny")}${suffix()}-cpu")
  labels   = labels("hearth engine", "${recipe("tiny")} at INT4 in vLLM, for CPUs")
}

target "engine-cuda" {
  inherits = ["common"]
  target   = "engine-cuda"
  args     = { RECIPE = recipe("qwen3-4b-instruct-2507"), BACKEND = HEARTH_BACKEND, ACCELERATOR = "cuda" }
  tags     = image("hearth-engine", "${HEARTH_VERSION}-${recipe("qwen3-4b-instruct-2507")}${suffix()}-cuda")
  labels   = labels("hearth engine", "${recipe("qwen3-4b-instruct-2507")} at INT4 in vLLM, for NVIDIA GPUs")
}

# Writes what the engine's image will say of its weights into a file for Bake (docker/host.sh).
target "labels" {
  name     = "labels-${engine}"
  matrix   = { engine = ["engine-cpu", "engine-cuda"] }
  inherits = [engine]
  target   = "labels"
  tags     = []
  output   = ["type=local,dest=build/labels/${engine}"]
}

# Everything of the images but our own code and weights; the tag comes from docker/runtimes.sh.
target "runtime" {
  name     = "runtime-${name}"
  matrix   = { name = ["cpu", "cuda", "gateway", "node", "commands", "browser", "search", "egress"] }
  inherits = ["common"]
  target   = "runtime-${name}"
  # Whatever is made from a runtime inherits its labels: the base is the one that the runtime was made from.
  labels = {
    for name, value in { name = BASE, digest = HEARTH_BASE_DIGEST } : "org.opencontainers.image.base.${name}" => value if value != ""
  }
}

target "quantizer" {
  inherits = ["common"]
  target   = HEARTH_BACKEND == "" ? "quantizer-gptqmodel" : "quantizer-${HEARTH_BACKEND}"
  args     = { ACCELERATOR = HEARTH_ACCELERATOR }
  tags     = image("hearth-quantizer", "${HEARTH_VERSION}${suffix()}-${HEARTH_ACCELERATOR}")
  labels   = labels("hearth quantizer", "Quantizes an instruct model to GPTQ INT4")
}

target "gateway" {
  inherits = ["common"]
  target   = "gateway"
  tags     = image("hearth-gateway", HEARTH_VERSION)
  labels   = labels("hearth gateway", "The OpenAI API in front of a hearth engine")
}

target "router" {
  inherits = ["common"]
  target   = "router"
  tags     = image("hearth-router", HEARTH_VERSION)
}

target "state" {
  inherits = ["common"]
  target   = "state"
  tags     = image("hearth-state", HEARTH_VERSION)
}

target "tool" {
  name     = "tool-${name}"
  matrix   = { name = ["files", "commands", "browser", "search", "egress"] }
  inherits = ["common"]
  target   = "tool-${name}"
  tags     = image("hearth-tool-${name}", HEARTH_VERSION)
  labels   = labels("hearth tool: ${name}", "The MCP tool server or proxy `${name}` of hearth")
}
