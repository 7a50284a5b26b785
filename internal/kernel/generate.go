package kernel

// The assembly is made by the generators in the module asm, which also holds their dependencies.

//go:generate go run -C asm ./gemm -out ../gemm_amd64.s -stubs ../gemm_amd64.go -pkg kernel
//go:generate go run -C asm ./bf16 -out ../bf16_amd64.s -stubs ../bf16_amd64.go -pkg kernel
//go:generate go run -C asm ./attention -out ../attention_amd64.s -stubs ../attention_amd64.go -pkg kernel
//go:generate go run -C asm ./pointwise -out ../pointwise_amd64.s -stubs ../pointwise_amd64.go -pkg kernel
//go:generate go run -C asm ./quant -out ../quant_amd64.s -stubs ../quant_amd64.go -pkg kernel
//go:generate go run -C asm ./half -out ../half_amd64.s -stubs ../half_amd64.go -pkg kernel
//go:generate go run -C asm ./pages -out ../pages_amd64.s -stubs ../pages_amd64.go -pkg kernel
//go:generate go run -C asm ./sample -out ../sample_amd64.s -stubs ../sample_amd64.go -pkg kernel
