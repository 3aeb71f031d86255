// The versions of the CPU's vector code against each other. That each is right, the tests of the ops show,
// which run with every one.
#include "evenkeel/kernels/isa.h"
#include "train_steps.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

/// Sets the instruction set, and the old one again at the end.
class WithIsa {
 public:
  explicit WithIsa(cpu::Isa isa) : before_(cpu::isa()) { cpu::set_isa(isa); }
  ~WithIsa() { cpu::set_isa(before_); }
  WithIsa(const WithIsa&) = delete;
  WithIsa& operator=(const WithIsa&) = delete;

 private:
  cpu::Isa before_;
};

Trained train(cpu::Isa isa, mnist::Norm norm, DType dtype, std::int64_t batch) {
  const WithIsa with(isa);
  return train_steps(norm, {dtype}, 4, batch);
}

}  // namespace

TEST_CASE("AVX2 and AVX-512 train every network to the same bits") {
  if (cpu::supported_isas().size() < 3) {
    WARN("this build or this CPU has not got both");
    return;
  }
  // More images than a register has lanes, and fewer.
  for (const std::int64_t batch : {19, 3}) {
    for (const std::string_view name : mnist::norm_names()) {
      for (const DType dtype : {DType::f32, DType::f64}) {
        INFO(name << ", " << batch << " images, " << name_of(dtype));
        const mnist::Norm norm = mnist::parse_norm(name);
        const Trained wide = train(cpu::Isa::avx512, norm, dtype, batch);
        const Trained narrow = train(cpu::Isa::avx2, norm, dtype, batch);
        for (std::size_t i = 0; i < wide.state.size(); ++i) {
          INFO(wide.state[i].first);
          CHECK(same_bits(wide.state[i].second, narrow.state[i].second));
        }
      }
    }
  }
}

TEST_CASE("an instruction set that is not there is refused") {
  for (const cpu::Isa isa : {cpu::Isa::baseline, cpu::Isa::avx2, cpu::Isa::avx512}) {
    const auto& supported = cpu::supported_isas();
    if (std::find(supported.begin(), supported.end(), isa) == supported.end()) {
      CHECK_THROWS_AS(cpu::set_isa(isa), Error);
    } else {
      const WithIsa with(isa);
      CHECK(cpu::isa() == isa);
    }
  }
}
