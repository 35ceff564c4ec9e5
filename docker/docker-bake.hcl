# docker buildx bake -f docker/docker-bake.hcl [cpu | gpu | TARGET], from the repository's root; `make build` calls it.
variable "HEARTH_REGISTRY" { default = "" }             # with its slash: ghcr.io/me/
variable "HEARTH_VERSION" { default = "0.1.0" }
variable "HEARTH_RECIPE" { default = "" }               # default: the recipe of the target's profile
variable "HEARTH_BACKEND" { default = "" }              # gptqmodel or auto-gptq, as part of the tag; default: the recipe's
variable "HEARTH_WEIGHTS" { default = "" }              # a folder with an artifact: nothing is quantized in the build
variable "HEARTH_WHEELS" { default = "docker/wheels" }  # a folder with local wheels, or none
variable "HEARTH_CA" { default = "/dev/null" }          # a CA bundle
variable "HEARTH_ACCELERATOR" { default = "cpu" }       # of the quantizer

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

group "cpu" { targets = ["engine-cpu", "gateway"] }
group "gpu" { targets = ["engine-cuda", "gateway"] }
group "tools" { targets = ["tool"] }
group "scale" { targets = ["router", "state"] }

target "common" {
  context    = "."
  dockerfile = "docker/Dockerfile"
  contexts   = merge({ wheels = HEARTH_WHEELS }, HEARTH_WEIGHTS == "" ? {} : { weights = HEARTH_WEIGHTS })
  secret = ["id=ca,src=${HEARTH_CA}", "id=hf_token,env=HF_TOKEN"]
}

target "engine-cpu" {
  inherits = ["common"]
  target   = "engine-cpu"
  args     = { RECIPE = recipe("tiny"), BACKEND = HEARTH_BACKEND, ACCELERATOR = "cpu" }
  tags     = image("hearth-engine", "${HEARTH_VERSION}-${recipe("tiny")}${suffix()}-cpu")
}

target "engine-cuda" {
  inherits = ["common"]
  target   = "engine-cuda"
  args     = { RECIPE = recipe("qwen3-4b-instruct-2507"), BACKEND = HEARTH_BACKEND, ACCELERATOR = "cuda" }
  tags     = image("hearth-engine", "${HEARTH_VERSION}-${recipe("qwen3-4b-instruct-2507")}${suffix()}-cuda")
}

target "quantizer" {
  inherits = ["common"]
  target   = HEARTH_BACKEND == "" ? "quantizer-gptqmodel" : "quantizer-${HEARTH_BACKEND}"
  args     = { ACCELERATOR = HEARTH_ACCELERATOR }
  tags     = image("hearth-quantizer", "${HEARTH_VERSION}${suffix()}-${HEARTH_ACCELERATOR}")
}

target "gateway" {
  inherits = ["common"]
  target   = "gateway"
  tags     = image("hearth-gateway", HEARTH_VERSION)
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
}
