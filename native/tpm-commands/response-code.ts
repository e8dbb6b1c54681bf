/** Names of TPM response codes (TCG "TPM 2.0 Library Specification" Part 2, section 6.6). */

const FORMAT_ONE = 0x080;
const PARAMETER = 0x040;
const VERSION_TWO = 0x100;
const WARNING = 0x800;
const VENDOR = 0x400;
/** Numbers of sessions stand above those of handles. */
const SESSION_NUMBERS = 8;

/** Bits above the TPM's own twelve say which layer of the software answered in its place. */
const LAYER_SHIFT = 16;
const RESOURCE_MANAGER_LAYERS: Readonly<Record<number, string>> = {
  0x0b: 'the resource manager',
  0x0c: 'the resource manager',
};

const FORMAT_ONE_NAMES: Readonly<Record<number, string>> = {
  0x01: 'ASYMMETRIC',
  0x02: 'ATTRIBUTES',
  0x03: 'HASH',
  0x04: 'VALUE',
  0x05: 'HIERARCHY',
  0x07: 'KEY_SIZE',
  0x08: 'MGF',
  0x09: 'MODE',
  0x0a: 'TYPE',
  0x0b: 'HANDLE',
  0x0c: 'KDF',
  0x0d: 'RANGE',
  0x0e: 'AUTH_FAIL',
  0x0f: 'NONCE',
  0x10: 'PP',
  0x12: 'SCHEME',
  0x15: 'SIZE',
  0x16: 'SYMMETRIC',
  0x17: 'TAG',
  0x18: 'SELECTOR',
  0x1a: 'INSUFFICIENT',
  0x1b: 'SIGNATURE',
  0x1c: 'KEY',
  0x1d: 'POLICY_FAIL',
  0x1f: 'INTEGRITY',
  0x20: 'TICKET',
  0x21: 'RESERVED_BITS',
  0x22: 'BAD_AUTH',
  0x23: 'EXPIRED',
  0x24: 'POLICY_CC',
  0x25: 'BINDING',
  0x26: 'CURVE',
  0x27: 'ECC_POINT',
};

const FORMAT_ZERO_NAMES: Readonly<Record<number, string>> = {
  0x00: 'INITIALIZE',
  0x01: 'FAILURE',
  0x03: 'SEQUENCE',
  0x0b: 'PRIVATE',
  0x19: 'HMAC',
  0x20: 'DISABLED',
  0x21: 'EXCLUSIVE',
  0x24: 'AUTH_TYPE',
  0x25: 'AUTH_MISSING',
  0x26: 'POLICY',
  0x27: 'PCR',
  0x28: 'PCR_CHANGED',
  0x2d: 'UPGRADE',
  0x2e: 'TOO_MANY_CONTEXTS',
  0x2f: 'AUTH_UNAVAILABLE',
  0x30: 'REBOOT',
  0x31: 'UNBALANCED',
  0x42: 'COMMAND_SIZE',
  0x43: 'COMMAND_CODE',
  0x44: 'AUTHSIZE',
  0x45: 'AUTH_CONTEXT',
  0x46: 'NV_RANGE',
  0x47: 'NV_SIZE',
  0x48: 'NV_LOCKED',
  0x49: 'NV_AUTHORIZATION',
  0x4a: 'NV_UNINITIALIZED',
  0x4b: 'NV_SPACE',
  0x4c: 'NV_DEFINED',
  0x50: 'BAD_CONTEXT',
  0x51: 'CPHASH',
  0x52: 'PARENT',
  0x53: 'NEEDS_TEST',
  0x54: 'NO_RESULT',
  0x55: 'SENSITIVE',
};

const WARNING_NAMES: Readonly<Record<number, string>> = {
  0x01: 'CONTEXT_GAP',
  0x02: 'OBJECT_MEMORY',
  0x03: 'SESSION_MEMORY',
  0x04: 'MEMORY',
  0x05: 'SESSION_HANDLES',
  0x06: 'OBJECT_HANDLES',
  0x07: 'LOCALITY',
  0x08: 'YIELDED',
  0x09: 'CANCELED',
  0x0a: 'TESTING',
  0x20: 'NV_RATE',
  0x21: 'LOCKOUT',
  0x22: 'RETRY',
  0x23: 'NV_UNAVAILABLE',
};

/** REFERENCE_H0 to H6 and REFERENCE_S0 to S6: a handle or a session that is not loaded. */
const FIRST_HANDLE_REFERENCE = 0x10;
const FIRST_SESSION_REFERENCE = 0x18;
const REFERENCES = 7;

/** The TPM limits how often its storage is written; it takes the same command later. */
export const NV_RATE = 0x920;

/** After too many wrong passwords the TPM refuses all for a time, or until it is unlocked. */
export const LOCKOUT = 0x921;

/** Codes of which the specification says that the same command may simply be sent again. */
export const RETRY_CODES: ReadonlySet<number> = new Set([0x908, 0x90a, NV_RATE, 0x922, 0x923]);

/** No room for another object or session: the caller, or a program before it, left its own loaded. */
export const SLOTS_FULL_CODES: ReadonlySet<number> = new Set([0x902, 0x903, 0x904, 0x905, 0x906]);

const NOT_STARTED = 0x100;

/** Whether a code says that a handle or session of the command stands for nothing, or that the TPM is not started. */
export function meansNotLoaded(code: number): boolean {
  if (code === NOT_STARTED) return true;
  if ((code & FORMAT_ONE) !== 0)
    return (code & PARAMETER) === 0 && FORMAT_ONE_NAMES[code & 0x3f] === 'HANDLE';
  const number = code & 0x7f;
  const isReference = number >= FIRST_HANDLE_REFERENCE && number < FIRST_SESSION_REFERENCE + REFERENCES;
  return code >>> LAYER_SHIFT === 0 && (code & VERSION_TWO) !== 0 && (code & WARNING) !== 0 && isReference;
}

/** Whether a code says that the HMAC of a session was wrong. @param session counted from 1 */
export function isAuthorizationFailure(code: number, session: number): boolean {
  const isOfSession =
    (code & FORMAT_ONE) !== 0 &&
    (code & PARAMETER) === 0 &&
    ((code >> 8) & 0xf) === session + SESSION_NUMBERS;
  const name = FORMAT_ONE_NAMES[code & 0x3f];
  return isOfSession && (name === 'AUTH_FAIL' || name === 'BAD_AUTH');
}

/** A response code as people and search engines know it, for example `TPM_RC_VALUE, parameter 2 (0x2c4)`. */
export function describeResponseCode(code: number): string {
  const layer = RESOURCE_MANAGER_LAYERS[code >>> LAYER_SHIFT];
  const origin = layer === undefined ? '' : `, from ${layer}`;
  return `${nameOf(code & 0xffff)}${origin} (0x${code.toString(16)})`;
}

function nameOf(code: number): string {
  if ((code & FORMAT_ONE) !== 0) {
    return `TPM_RC_${FORMAT_ONE_NAMES[code & 0x3f] ?? 'unknown'}${subjectOf(code)}`;
  }
  if ((code & VERSION_TWO) === 0) return 'a TPM 1.2 response code';
  if ((code & VENDOR) !== 0) return 'a response code of the vendor';
  const number = code & 0x7f;
  const name = (code & WARNING) === 0 ? FORMAT_ZERO_NAMES[number] : warningName(number);
  return `TPM_RC_${name ?? 'unknown'}`;
}

function warningName(number: number): string | undefined {
  for (const [first, letter] of [
    [FIRST_HANDLE_REFERENCE, 'H'],
    [FIRST_SESSION_REFERENCE, 'S'],
  ] as const) {
    if (number >= first && number < first + REFERENCES) return `REFERENCE_${letter}${number - first}`;
  }
  return WARNING_NAMES[number];
}

/** Which parameter, session or handle a format-one code is about; number 0 means that the TPM does not say. */
function subjectOf(code: number): string {
  const number = (code >> 8) & 0xf;
  if ((code & PARAMETER) !== 0) return number === 0 ? ', a parameter' : `, parameter ${number}`;
  if (number === 0) return '';
  return number >= SESSION_NUMBERS ? `, session ${number - SESSION_NUMBERS}` : `, handle ${number}`;
}
