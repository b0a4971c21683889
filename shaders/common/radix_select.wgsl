// radix_select - the largest key at or above which enough lies.
//
// Enough is a number of items (BY_COUNT), or a probability mass (BY_MASS, of sum_masses).
// A digit of 8 bits at a time: a histogram of what the items that share the digits so far
// have next, then a walk from its top. Masses are integers, in units of 2^-28 of the
// largest, so that sums are exact and the same in any order; they are kept as a high and
// a low part of 14 bits per item, whose sums hold 2^18 items.
//
// The kernel gives `n_items`, `item_key(i)` and `scaled(key)`. Keys of 0 never count. Call in uniform control flow. Needs common/math.wgsl, common/order.wgsl.
const BY_COUNT: u32 = 0u;
const BY_MASS: u32 = 1u;
const MASS_UNIT: f32 = 268435440.0;  // 2^28 - 16: the largest f32 whose high part fits
const PART_BITS: u32 = 14u;
const LOW_PART: u32 = 0x3fffu;

var<workgroup> mass_high: array<atomic<u32>, 256>;
var<workgroup> mass_low: array<atomic<u32>, 256>;
var<workgroup> group_mass: array<vec2<u32>, 16>;  // of 16 digits each: (high, low)
var<workgroup> selected_digit: u32;
// Thread 0's own: what lies above the digits so far.
var<private> mass_above: vec2<u32>;

fn key_mass(key: u32) -> u32 {
  return u32(round(exp_f32(scaled(key)) * MASS_UNIT));
}

fn mass_value(mass: vec2<u32>) -> f32 {
  let high = mass.x + (mass.y >> PART_BITS);
  return f32(high) * 16384.0 + f32(mass.y & LOW_PART);
}

fn digit_mass(digit: u32) -> vec2<u32> {
  return vec2(atomicLoad(&mass_high[digit]), atomicLoad(&mass_low[digit]));
}

// Return the mass of the items at or above a key.
fn sum_masses(thread: u32, lowest: u32) -> f32 {
  if (thread == 0u) {
    atomicStore(&mass_high[0], 0u);
    atomicStore(&mass_low[0], 0u);
  }
  workgroupBarrier();
  var sum = vec2(0u);
  for (var i = thread; i < n_items; i += WG) {
    let key = item_key(i);
    if (key >= lowest && key > 0u) {
      let mass = key_mass(key);
      sum += vec2(mass >> PART_BITS, mass & LOW_PART);
    }
  }
  atomicAdd(&mass_high[0], sum.x);
  atomicAdd(&mass_low[0], sum.y);
  workgroupBarrier();
  sum = digit_mass(0u);
  workgroupBarrier();
  return mass_value(sum);
}

// Add the items whose digits above `shift` are those of `prefix` to the histogram.
fn count_digits(thread: u32, lowest: u32, mode: u32, prefix: u32, shift: u32) {
  for (var digit = thread; digit < 256u; digit += WG) {
    atomicStore(&mass_high[digit], 0u);
    atomicStore(&mass_low[digit], 0u);
  }
  workgroupBarrier();
  for (var i = thread; i < n_items; i += WG) {
    let key = item_key(i);
    let is_counted = key >= lowest && key > 0u;
    if (is_counted && (((key ^ prefix) >> shift) >> 8u) == 0u) {
      let digit = (key >> shift) & 255u;
      var mass = 1u;
      if (mode == BY_MASS) {
        mass = key_mass(key);
        atomicAdd(&mass_high[digit], mass >> PART_BITS);
      }
      atomicAdd(&mass_low[digit], mass & LOW_PART);
    }
  }
  workgroupBarrier();
  for (var group = thread; group < 16u; group += WG) {
    var sum = vec2(0u);
    for (var i = 0u; i < 16u; i++) {
      sum += digit_mass(16u * group + i);
    }
    group_mass[group] = sum;
  }
  workgroupBarrier();
}

// Walk down to the digit at which enough is reached, 0 if it never is.
fn walk_down(wanted: f32) -> u32 {
  var group = 15u;
  while (group > 0u && mass_value(mass_above + group_mass[group]) < wanted) {
    mass_above += group_mass[group];
    group -= 1u;
  }
  var digit = 16u * group + 15u;
  while (digit > 16u * group && mass_value(mass_above + digit_mass(digit)) < wanted) {
    mass_above += digit_mass(digit);
    digit -= 1u;
  }
  return digit;
}

// Fix `n_digits` digits from the top; with fewer than 4 the result is a lower bound.
fn radix_select(thread: u32, lowest: u32, mode: u32, wanted: f32, n_digits: u32) -> u32 {
  var prefix = 0u;
  mass_above = vec2(0u);
  for (var i = 0u; i < n_digits; i++) {
    let shift = 24u - 8u * i;
    count_digits(thread, lowest, mode, prefix, shift);
    if (thread == 0u) {
      selected_digit = walk_down(wanted);
    }
    workgroupBarrier();
    prefix |= selected_digit << shift;
  }
  return prefix;
}
