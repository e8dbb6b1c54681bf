import { execFile } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import koffi from 'koffi';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { type Cryptoki, type FunctionName, openPkcs11Library } from '../../../native/pkcs11/library.ts';
import type { Argument } from '../../../native/nvml/serial-calls.ts';
import { pkcs11MachineRefusals } from '../../../native/pkcs11/refusals.ts';
import type { Pkcs11Session } from '../../../native/pkcs11/session.ts';
import { Attribute } from '../../../native/pkcs11/structures.ts';
import { Pkcs11Token } from '../../../native/pkcs11/token.ts';
import {
  createPkcs11Custody,
  openPkcs11Custody,
  type Pkcs11CustodyOptions,
} from '../../../src/keys/pkcs11/pkcs11-custody.ts';
import { pkcs11CustodyProvider } from '../../../src/keys/pkcs11/provider.ts';
import { findTokenKeys, generateTokenKey } from '../../../src/keys/pkcs11/wrapping-keys.ts';
import {
  type SoftHsm,
  SOFTHSM_LIBRARY,
  softhsmMissing,
  startSoftHsm,
  TOKEN_PIN,
} from '../../support/softhsm.ts';
import { absentPrograms } from '../../support/programs.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { type CustodyFault, type CustodyFixture, describeCustodyContract } from '../custody-contract.ts';

const pkcs11ToolMissing = absentPrograms(['pkcs11-tool']).length > 0;
if (pkcs11ToolMissing) process.stderr.write('skipped: not installed: opensc\n');

/** Each fault has the token opened several times. */
vi.setConfig({ testTimeout: 120_000 });

/** Of the flags in CK_TOKEN_INFO, little-endian. */
const FLAGS_OFFSET = 96;

if (softhsmMissing !== undefined) process.stderr.write(`skipped: ${softhsmMissing}\n`);

describe.skipIf(softhsmMissing !== undefined)('custody by a PKCS#11 token', () => {
  let softhsm: SoftHsm;
  let keys = 0;
  beforeAll(async () => {
    softhsm = await startSoftHsm();
    await softhsm.addToken('weightgate');
  });
  afterAll(async () => {
    await softhsm.remove();
  });

  async function newCustody(): Promise<Pkcs11CustodyOptions> {
    keys += 1;
    const options = {
      library: SOFTHSM_LIBRARY,
      label: 'weightgate',
      serial: null,
      keyLabel: `models ${keys}`,
      pin: TOKEN_PIN,
    };
    await createPkcs11Custody(options);
    return options;
  }

  async function makeFixture(): Promise<CustodyFixture> {
    const place = await newCustody();
    const foreign = await newCustody();
    let fault: CustodyFault | undefined;
    let steps = 0;
    const openLibrary = async (path: string, callSeconds: number): Promise<Cryptoki> => {
      const library = await openPkcs11Library(path, callSeconds);
      return {
        ...library,
        call: async (name, values, alsoGood) => {
          const moment = fault?.step === steps ? fault.moment : undefined;
          steps += 1;
          if (moment !== 'before') await library.call(name, values, alsoGood);
          if (moment === undefined) return;
          const facts = { field: name, expected: 'CKR_OK', found: 'FUNCTION_FAILED (0x6)' };
          throw pkcs11MachineRefusals.error('pkcs11-call-failed', facts);
        },
      };
    };
    return {
      open: () => openPkcs11Custody({ ...place, openLibrary }),
      openForeign: () => openPkcs11Custody(foreign),
      setFault: (next) => {
        fault = next;
        steps = 0;
      },
      faultHappened: () => fault !== undefined && steps > fault.step,
      remove: () => Promise.resolve(),
    };
  }

  describeCustodyContract({ provider: 'pkcs11', makeFixture, damagedBytes: 40, randomInputs: 60 });

  const context = { manifestDigest: 'ab'.repeat(32), origin: 'example.org/a', mode: 'production' } as const;
  const modelKey = new Uint8Array(32).fill(7);

  async function withToken<T>(work: (token: Pkcs11Token) => Promise<T>): Promise<T> {
    const library = await openPkcs11Library(SOFTHSM_LIBRARY, 20);
    const options = { label: 'weightgate', serial: null, pin: TOKEN_PIN, sessions: 2 };
    const token = new Pkcs11Token(library, options);
    try {
      return await work(token);
    } finally {
      await token.close();
    }
  }

  it('KC-60: the token never gives a wrapping key away', async () => {
    const { keyLabel } = await newCustody();
    const reading = withToken((token) =>
      token.use(async (session) => {
        const [key] = await findTokenKeys(session, keyLabel);
        return await session.attributes(key!.handle, [[Attribute.value, 32]]);
      }),
    );
    await expect(reading).rejects.toThrow(/CKR_OK, found ATTRIBUTE_SENSITIVE/);
  });

  it.each([
    ['CKA_EXTRACTABLE', Attribute.extractable, true],
    ['CKA_SENSITIVE', Attribute.sensitive, false],
    ['CKA_PRIVATE', Attribute.private, false],
    ['CKA_WRAP', Attribute.wrap, true],
    ['CKA_DERIVE', Attribute.derive, true],
    ['CKA_MODIFIABLE', Attribute.modifiable, true],
    ['CKA_VALUE_LEN', Attribute.valueLength, 16n],
  ] as const)('KC-61: a key on the token with another %s is refused', async (name, type, value) => {
    const options = { ...(await newCustody()), keyLabel: `planted ${name}` };
    await withToken((token) =>
      token.use((session) => generateTokenKey(overriding(session, type, value), options.keyLabel, [])),
    );
    expect(await refusalCodeAsync(() => openPkcs11Custody(options))).toBe('pkcs11-key-attributes');
    await expect(openPkcs11Custody(options)).rejects.toThrow(name);
  });

  /** Makes keys with one attribute other than asked for. */
  function overriding(session: Pkcs11Session, type: number, value: boolean | bigint): Pkcs11Session {
    const generate = session.generateAesKey.bind(session);
    session.generateAesKey = (attributes) =>
      generate(attributes.map((one) => (one[0] === type ? [type, value] : one)));
    return session;
  }

  it.skipIf(pkcs11ToolMissing)('KC-61: a key that was brought to the token is refused', async () => {
    const options = { ...(await newCustody()), keyLabel: 'brought' };
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'key'), new Uint8Array(32).fill(9));
    const id = '00000000000000010102030405060708';
    const values = [
      '--module',
      SOFTHSM_LIBRARY,
      '--token-label',
      'weightgate',
      '--login',
      '--pin',
      '7654321',
    ];
    const object = ['--write-object', join(folder, 'key'), '--type', 'secrkey', '--key-type', 'AES:32'];
    const attributes = ['--label', options.keyLabel, '--id', id, '--sensitive', '--private'];
    await promisify(execFile)('pkcs11-tool', [...values, ...object, ...attributes], {
      env: softhsm.environment,
    });
    expect(await refusalCodeAsync(() => openPkcs11Custody(options))).toBe('pkcs11-key-attributes');
  });

  it('KC-65: a token that ended all sessions is logged in to again, for many at once', async () => {
    const custody = await openPkcs11Custody(await newCustody());
    const wrapped = await custody.wrap(modelKey, context);
    await endAllSessions();
    const opened = await Promise.all([1, 2, 3, 4, 5, 6].map(() => custody.unwrap(wrapped, context)));
    expect(opened).toEqual(Array.from({ length: 6 }, () => modelKey));
    await custody.close();
  });

  /** As when the token is taken out and put in again: every session of this process ends, and so does its login. */
  async function endAllSessions(): Promise<void> {
    const library = koffi.load(SOFTHSM_LIBRARY, { deep: true });
    const slots = new BigUint64Array(16);
    const count = BigUint64Array.of(16n);
    const list = library.func('uint64_t C_GetSlotList(uint8_t present, void *slots, void *count)');
    const end = library.func('uint64_t C_CloseAllSessions(uint64_t slot)');
    expect(list(1, slots, count)).toBe(0);
    for (const slot of slots.subarray(0, Number(count[0]))) end(slot);
    return Promise.resolve();
  }

  it('KC-65: a wrong PIN is refused once and never tried again', async () => {
    const options = { ...(await newCustody()), pin: new TextEncoder().encode('0000000') };
    expect(await refusalCodeAsync(() => openPkcs11Custody(options))).toBe('pkcs11-pin-wrong');
    const logins: string[] = [];
    const library = await openPkcs11Library(SOFTHSM_LIBRARY, 20);
    const counting: Cryptoki = {
      ...library,
      call: (name, values, alsoGood) => {
        if (name === 'C_Login') logins.push(name);
        return library.call(name, values, alsoGood);
      },
    };
    const token = new Pkcs11Token(counting, { ...options, sessions: 1 });
    const using = (): Promise<string> => refusalCodeAsync(() => token.use((session) => session.random(8)));
    expect([await using(), await using(), await using()]).toEqual(Array(3).fill('pkcs11-pin-wrong'));
    expect(logins).toHaveLength(1);
    await token.close();
  });

  it('KC-65: nothing is tried when one wrong PIN more would lock the token', async () => {
    const options = await newCustody();
    const logins: string[] = [];
    const openLibrary = async (path: string, seconds: number): Promise<Cryptoki> => {
      const library = await openPkcs11Library(path, seconds);
      return {
        ...library,
        call: async (name, values, alsoGood) => {
          if (name === 'C_Login') logins.push(name);
          await library.call(name, values, alsoGood);
          const [, information] = values;
          if (name !== 'C_GetTokenInfo' || !(information instanceof Uint8Array)) return;
          // CKF_USER_PIN_FINAL_TRY.
          information[FLAGS_OFFSET + 2] = (information[FLAGS_OFFSET + 2] ?? 0) | 0x02;
        },
      };
    };
    const code = await refusalCodeAsync(() => openPkcs11Custody({ ...options, openLibrary }));
    expect([code, logins]).toEqual(['pkcs11-pin-last-try', []]);
  });

  it('KC-64: says what is missing', async () => {
    const options = await newCustody();
    const code = (change: Partial<Pkcs11CustodyOptions>): Promise<string> =>
      refusalCodeAsync(() => openPkcs11Custody({ ...options, ...change }));
    expect(await code({ library: '/nowhere/libtoken.so' })).toBe('pkcs11-library-missing');
    expect(await code({ library: 'libc.so.6' })).toBe('pkcs11-library-other');
    expect(await code({ label: 'another' })).toBe('pkcs11-token-missing');
    expect(await code({ serial: '0123' })).toBe('pkcs11-token-missing');
    expect(await code({ keyLabel: 'never made' })).toBe('custody-failed');
    await softhsm.addToken('twin');
    await softhsm.addToken('twin');
    expect(await code({ label: 'twin' })).toBe('pkcs11-token-ambiguous');
  });

  it('KC-64: as a home has it, with the PIN in a file for its owner alone', async () => {
    const folder = await temporaryFolder();
    const home = { folder, mode: 'production', origin: 'example.org/a', passphrase: 'unused' } as const;
    const settings = {
      library: SOFTHSM_LIBRARY,
      token: 'weightgate',
      serial: null,
      key: 'home',
      pinFile: 'pin',
    };
    await writeFile(join(folder, 'pin'), '7654321\n', { mode: 0o600 });
    await pkcs11CustodyProvider.prepare(settings, home);
    await pkcs11CustodyProvider.prepare(settings, home);
    const custody = await pkcs11CustodyProvider.open(settings, home);
    expect((await custody.wrappingKeys()).older).toEqual([]);
    expect(await custody.unwrap(await custody.wrap(modelKey, context), context)).toEqual(modelKey);
    await custody.close();
    await chmod(join(folder, 'pin'), 0o640);
    expect(await refusalCodeAsync(() => pkcs11CustodyProvider.open(settings, home))).toBe('key-file-exposed');
  });

  /** A library whose calls a test changes on their way. */
  function altered(
    change: (name: FunctionName, values: readonly Argument[], call: () => Promise<void>) => Promise<void>,
  ): NonNullable<Pkcs11CustodyOptions['openLibrary']> {
    return async (path, seconds) => {
      const library = await openPkcs11Library(path, seconds);
      return {
        ...library,
        call: (name, values, alsoGood) => change(name, values, () => library.call(name, values, alsoGood)),
      };
    };
  }

  it('KC-63: a token that writes an IV of its own over the one it was given is understood', async () => {
    const openLibrary = altered(async (name, values, call) => {
      const [, mechanism] = values;
      // Behind CK_MECHANISM and CK_GCM_PARAMS.
      if (name === 'C_EncryptInit' && mechanism instanceof Uint8Array) mechanism.fill(0x77, 72, 84);
      await call();
    });
    const custody = await openPkcs11Custody({ ...(await newCustody()), openLibrary });
    const wrapped = await custody.wrap(modelKey, context);
    expect(Buffer.from(wrapped).includes(Buffer.alloc(12, 0x77))).toBe(true);
    expect(await custody.unwrap(wrapped, context)).toEqual(modelKey);
    await custody.close();
  });

  it('KC-63: a token that appends something to the ciphertext is refused', async () => {
    const openLibrary = altered(async (name, values, call) => {
      await call();
      const length = values[4];
      if (name === 'C_Encrypt' && length instanceof Uint8Array) length[0] = 60;
    });
    const custody = await openPkcs11Custody({ ...(await newCustody()), openLibrary });
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('pkcs11-answer');
    await custody.close();
  });

  it('KC-63: a token that does not give back what it encrypted wraps nothing', async () => {
    const openLibrary = altered(async (name, values, call) => {
      await call();
      const plaintext = values[3];
      if (name === 'C_Decrypt' && plaintext instanceof Uint8Array) plaintext[0] = 1;
    });
    const custody = await openPkcs11Custody({ ...(await newCustody()), openLibrary });
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('pkcs11-answer');
    await custody.close();
  });
});
