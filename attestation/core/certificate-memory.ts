/**
 * What was found out about certificates and need not be found out again. Reading bytes and verifying a signature give the
 * same result each time, whatever the clock, the anchors and the policy say, so that a verdict does not depend on what
 * is remembered: only the time that it takes does (W10). The caller owns a memory and hands it to each verification.
 */

/** A few kilobytes each. */
const DEFAULT_CAPACITY = 4096;

/** windows-1252 gives each byte a character of its own: the text is the bytes, and is compared whole. */
const ONE_CHARACTER_A_BYTE = new TextDecoder('windows-1252');

export class CertificateMemory {
  private readonly capacity: number;
  private readonly values = new Map<string, object>();
  private readonly signed = new WeakMap<object, WeakSet<object>>();

  /** @param capacity how many values are kept; the oldest goes first */
  constructor(capacity = DEFAULT_CAPACITY) {
    this.capacity = capacity;
  }

  /**
   * What a reader makes of the bytes.
   *
   * @param reader its name: other readers make other values of the same bytes
   * @param read is given a copy, which nobody else can change
   * @throws what `read` throws; a refusal is not remembered
   */
  read<Value extends object>(reader: string, bytes: Uint8Array, read: (bytes: Uint8Array) => Value): Value {
    const key = `${reader} ${ONE_CHARACTER_A_BYTE.decode(bytes)}`;
    const known = this.values.get(key) as Value | undefined;
    if (known !== undefined) return known;
    const value = read(bytes.slice());
    const [oldest] = this.values.keys();
    if (this.values.size >= this.capacity && oldest !== undefined) this.values.delete(oldest);
    this.values.set(key, value);
    return value;
  }

  /**
   * Whether the signature of one value by the key of another holds. Both are values of {@link read}, which never change.
   *
   * @param verify a signature that does not hold is verified again each time
   */
  async holds(subject: object, issuer: object, verify: () => Promise<boolean>): Promise<boolean> {
    const issuers = this.signed.get(subject) ?? new WeakSet();
    if (issuers.has(issuer)) return true;
    const holds = await verify();
    if (holds) this.signed.set(subject, issuers.add(issuer));
    return holds;
  }
}

/** Reads through the memory, where there is one. */
export function remembered<Value extends object>(
  memory: CertificateMemory | undefined,
  reader: string,
  bytes: Uint8Array,
  read: (bytes: Uint8Array) => Value,
): Value {
  return memory === undefined ? read(bytes) : memory.read(reader, bytes, read);
}
