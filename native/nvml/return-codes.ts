/** What the return codes of NVML mean here (`nvmlReturn_t` of nvml.h). */

import type { RefusalError } from '../../attestation/core/refusal.ts';
import { nvmlMachineRefusals, nvmlStateRefusals } from './refusals.ts';

const SUCCESS = 0;

type MachineCode = keyof typeof nvmlMachineRefusals.codes;

/** Names as in the header, less the prefix `NVML_ERROR_`, and the refusal that each becomes. */
const RETURN_CODES: Readonly<Record<number, readonly [name: string, code: MachineCode | 'nvml-busy']>> = {
  1: ['UNINITIALIZED', 'nvml-call-failed'],
  2: ['INVALID_ARGUMENT', 'nvml-call-failed'],
  3: ['NOT_SUPPORTED', 'nvml-not-supported'],
  4: ['NO_PERMISSION', 'nvml-not-permitted'],
  5: ['ALREADY_INITIALIZED', 'nvml-call-failed'],
  6: ['NOT_FOUND', 'nvml-gpu-lost'],
  7: ['INSUFFICIENT_SIZE', 'nvml-call-failed'],
  8: ['INSUFFICIENT_POWER', 'nvml-call-failed'],
  9: ['DRIVER_NOT_LOADED', 'nvml-driver-not-loaded'],
  10: ['TIMEOUT', 'nvml-busy'],
  11: ['IRQ_ISSUE', 'nvml-call-failed'],
  12: ['LIBRARY_NOT_FOUND', 'nvml-library-missing'],
  13: ['FUNCTION_NOT_FOUND', 'nvml-library-old'],
  14: ['CORRUPTED_INFOROM', 'nvml-call-failed'],
  15: ['GPU_IS_LOST', 'nvml-gpu-lost'],
  16: ['RESET_REQUIRED', 'nvml-gpu-lost'],
  17: ['OPERATING_SYSTEM', 'nvml-call-failed'],
  18: ['LIB_RM_VERSION_MISMATCH', 'nvml-driver-mismatch'],
  19: ['IN_USE', 'nvml-busy'],
  20: ['MEMORY', 'nvml-busy'],
  21: ['NO_DATA', 'nvml-busy'],
  22: ['VGPU_ECC_NOT_SUPPORTED', 'nvml-not-supported'],
  23: ['INSUFFICIENT_RESOURCES', 'nvml-busy'],
  24: ['FREQ_NOT_SUPPORTED', 'nvml-not-supported'],
  25: ['ARGUMENT_VERSION_MISMATCH', 'nvml-library-old'],
  26: ['DEPRECATED', 'nvml-library-old'],
  27: ['NOT_READY', 'nvml-busy'],
  28: ['GPU_NOT_FOUND', 'nvml-gpu-lost'],
  29: ['INVALID_STATE', 'nvml-call-failed'],
  30: ['RESET_TYPE_NOT_SUPPORTED', 'nvml-not-supported'],
  999: ['UNKNOWN', 'nvml-call-failed'],
};

/**
 * @param field the function, and of which GPU
 * @throws RefusalError `nvml-*` where the code is not that of success
 */
export function requireSuccess(returned: number, field: string): void {
  if (returned !== SUCCESS) throw refusalOf(returned, field);
}

function refusalOf(returned: number, field: string): RefusalError {
  const [name, code] = RETURN_CODES[returned] ?? ['an unknown error', 'nvml-call-failed'];
  const facts = { field, expected: 'success', found: `${name} (${returned})` };
  if (code === 'nvml-busy') return nvmlStateRefusals.error(code, facts);
  return nvmlMachineRefusals.error(code, facts);
}
