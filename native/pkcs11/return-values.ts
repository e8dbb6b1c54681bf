/** What the return values of PKCS#11 mean here (OASIS "PKCS #11 Base Specification", section 5.1, and pkcs11t.h). */

import type { RefusalError } from '../../attestation/core/refusal.ts';
import { pkcs11CiphertextRefusals, pkcs11MachineRefusals, pkcs11StateRefusals } from './refusals.ts';

const OK = 0;

type MachineCode = keyof typeof pkcs11MachineRefusals.codes;
type StateCode = keyof typeof pkcs11StateRefusals.codes;
type Code = MachineCode | StateCode | 'pkcs11-ciphertext';

/** Names as in the header, less the prefix `CKR_`, and the refusal that each becomes. */
const RETURN_VALUES: Readonly<Record<number, readonly [name: string, code: Code]>> = {
  0x01: ['CANCEL', 'pkcs11-busy'],
  0x02: ['HOST_MEMORY', 'pkcs11-busy'],
  0x03: ['SLOT_ID_INVALID', 'pkcs11-token-gone'],
  0x05: ['GENERAL_ERROR', 'pkcs11-call-failed'],
  0x06: ['FUNCTION_FAILED', 'pkcs11-call-failed'],
  0x07: ['ARGUMENTS_BAD', 'pkcs11-call-failed'],
  0x08: ['NO_EVENT', 'pkcs11-call-failed'],
  0x09: ['NEED_TO_CREATE_THREADS', 'pkcs11-library-other'],
  0x0a: ['CANT_LOCK', 'pkcs11-library-other'],
  0x10: ['ATTRIBUTE_READ_ONLY', 'pkcs11-call-failed'],
  0x11: ['ATTRIBUTE_SENSITIVE', 'pkcs11-call-failed'],
  0x12: ['ATTRIBUTE_TYPE_INVALID', 'pkcs11-call-failed'],
  0x13: ['ATTRIBUTE_VALUE_INVALID', 'pkcs11-call-failed'],
  0x1b: ['ACTION_PROHIBITED', 'pkcs11-call-failed'],
  0x20: ['DATA_INVALID', 'pkcs11-call-failed'],
  0x21: ['DATA_LEN_RANGE', 'pkcs11-call-failed'],
  0x30: ['DEVICE_ERROR', 'pkcs11-token-gone'],
  0x31: ['DEVICE_MEMORY', 'pkcs11-busy'],
  0x32: ['DEVICE_REMOVED', 'pkcs11-token-gone'],
  0x40: ['ENCRYPTED_DATA_INVALID', 'pkcs11-ciphertext'],
  0x41: ['ENCRYPTED_DATA_LEN_RANGE', 'pkcs11-ciphertext'],
  0x42: ['AEAD_DECRYPT_FAILED', 'pkcs11-ciphertext'],
  0x50: ['FUNCTION_CANCELED', 'pkcs11-busy'],
  0x54: ['FUNCTION_NOT_SUPPORTED', 'pkcs11-mechanism-missing'],
  0x60: ['KEY_HANDLE_INVALID', 'pkcs11-token-gone'],
  0x62: ['KEY_SIZE_RANGE', 'pkcs11-mechanism-missing'],
  0x63: ['KEY_TYPE_INCONSISTENT', 'pkcs11-call-failed'],
  0x68: ['KEY_FUNCTION_NOT_PERMITTED', 'pkcs11-call-failed'],
  0x70: ['MECHANISM_INVALID', 'pkcs11-mechanism-missing'],
  0x71: ['MECHANISM_PARAM_INVALID', 'pkcs11-mechanism-missing'],
  0x82: ['OBJECT_HANDLE_INVALID', 'pkcs11-token-gone'],
  0x90: ['OPERATION_ACTIVE', 'pkcs11-call-failed'],
  0x91: ['OPERATION_NOT_INITIALIZED', 'pkcs11-call-failed'],
  0xa0: ['PIN_INCORRECT', 'pkcs11-pin-wrong'],
  0xa1: ['PIN_INVALID', 'pkcs11-pin-wrong'],
  0xa2: ['PIN_LEN_RANGE', 'pkcs11-pin-wrong'],
  0xa3: ['PIN_EXPIRED', 'pkcs11-pin-locked'],
  0xa4: ['PIN_LOCKED', 'pkcs11-pin-locked'],
  0xb0: ['SESSION_CLOSED', 'pkcs11-token-gone'],
  0xb1: ['SESSION_COUNT', 'pkcs11-busy'],
  0xb3: ['SESSION_HANDLE_INVALID', 'pkcs11-token-gone'],
  0xb5: ['SESSION_READ_ONLY', 'pkcs11-call-failed'],
  0xd0: ['TEMPLATE_INCOMPLETE', 'pkcs11-call-failed'],
  0xd1: ['TEMPLATE_INCONSISTENT', 'pkcs11-call-failed'],
  0xe0: ['TOKEN_NOT_PRESENT', 'pkcs11-token-gone'],
  0xe1: ['TOKEN_NOT_RECOGNIZED', 'pkcs11-token-gone'],
  0xe2: ['TOKEN_WRITE_PROTECTED', 'pkcs11-call-failed'],
  0x101: ['USER_NOT_LOGGED_IN', 'pkcs11-token-gone'],
  0x102: ['USER_PIN_NOT_INITIALIZED', 'pkcs11-pin-locked'],
  0x103: ['USER_TYPE_INVALID', 'pkcs11-call-failed'],
  0x104: ['USER_ANOTHER_ALREADY_LOGGED_IN', 'pkcs11-busy'],
  0x105: ['USER_TOO_MANY_TYPES', 'pkcs11-busy'],
  0x120: ['RANDOM_SEED_NOT_SUPPORTED', 'pkcs11-call-failed'],
  0x121: ['RANDOM_NO_RNG', 'pkcs11-mechanism-missing'],
  0x150: ['BUFFER_TOO_SMALL', 'pkcs11-call-failed'],
  0x190: ['CRYPTOKI_NOT_INITIALIZED', 'pkcs11-token-gone'],
};

export const ReturnValue = { userAlreadyLoggedIn: 0x100, cryptokiAlreadyInitialized: 0x191 } as const;

/**
 * @param field the function, and of which library
 * @param alsoGood values that mean success for this caller
 * @throws RefusalError `pkcs11-*` where the value is not that of success
 */
export function requireOk(returned: number, field: string, alsoGood: readonly number[] = []): void {
  if (returned !== OK && !alsoGood.includes(returned)) throw refusalOf(returned, field);
}

function refusalOf(returned: number, field: string): RefusalError {
  const [name, code] = RETURN_VALUES[returned] ?? ['an unknown error', 'pkcs11-call-failed'];
  const facts = { field, expected: 'CKR_OK', found: `${name} (0x${returned.toString(16)})` };
  if (code === 'pkcs11-ciphertext') return pkcs11CiphertextRefusals.error(code, facts);
  return isStateCode(code)
    ? pkcs11StateRefusals.error(code, facts)
    : pkcs11MachineRefusals.error(code, facts);
}

function isStateCode(code: MachineCode | StateCode): code is StateCode {
  return Object.hasOwn(pkcs11StateRefusals.codes, code);
}
