import { generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { fromHex } from '../../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../../attestation/core/canonical-json.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { openTpm } from '../../../native/tpm/open.ts';
import { withSealedStorage } from '../../../native/tpm-commands/sealing.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import {
  closeUntilRestart,
  createTpmCustody,
  DEFAULT_COUNTER_INDEX,
  readTpmCustodyStatus,
  withdrawApprovalsBelow,
} from '../../../src/keys/tpm/administration.ts';
import { readApproval } from '../../../src/keys/tpm/approval.ts';
import { installApproval } from '../../../src/keys/tpm/approval-folder.ts';
import {
  identityOf,
  readTpmCustodyFile,
  signerOf,
  type TpmCustodyDocument,
} from '../../../src/keys/tpm/document.ts';
import { tpmCustodyProvider } from '../../../src/keys/tpm/provider.ts';
import { approvalRules, openTpmCustody } from '../../../src/keys/tpm/tpm-custody.ts';
import { sealNewKey, sealRootSecret } from '../../../src/keys/tpm/sealed-keys.ts';
import { externalSignerArea } from '../../../attestation/tpm/sealing-templates.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import {
  approvalOfNow,
  APPROVED_PCRS,
  approveNow,
  newTpmCustody,
  publicKeyOf,
  type TestTpmCustody,
} from '../../support/tpm-custody.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

const context = {
  manifestDigest: 'ab'.repeat(32),
  origin: 'example.org/evaluation',
  mode: 'evaluation',
} as const;
const modelKey = new Uint8Array(32).fill(7);
const CLOSING_PCR = 14;
const DIGEST = new Uint8Array(32).fill(3);

describe.skipIf(swtpmMissing !== undefined)('approvals of custody by a TPM', () => {
  let simulator: TestTpm;
  let custody: TestTpmCustody;
  beforeAll(async () => {
    simulator = await startTestTpm();
  });
  afterAll(async () => {
    await simulator.remove();
  });
  beforeEach(async () => {
    custody = await newTpmCustody(simulator);
  });
  afterEach(async () => {
    await custody.remove();
  });

  async function withTpm<T>(work: (tpm: Tpm) => Promise<T>): Promise<T> {
    const tpm = await Tpm.open(simulator.tpm.address);
    try {
      return await work(tpm);
    } finally {
      await tpm.close();
    }
  }

  const extend = (pcr: number): Promise<void> => withTpm((tpm) => tpm.extendPcr(pcr, DIGEST));
  const opening = (): Promise<string> =>
    refusalCodeAsync(async () => (await openTpmCustody(custody)).close());
  const rules = async (): Promise<ReturnType<typeof approvalRules>> =>
    approvalRules(await readTpmCustodyFile(custody.path, custody));

  it('KC-42: a state opens when it was approved, and nothing is sealed anew for it', async () => {
    expect(await opening()).toBe('custody-tpm-not-approved');
    await approveNow(custody);
    const before = await openTpmCustody(custody);
    const wrapped = await before.wrap(modelKey, context);
    await before.close();
    const file = await readFile(custody.path);
    await extend(11);
    expect(await opening()).toBe('custody-tpm-not-approved');
    await approveNow(custody);
    const after = await openTpmCustody(custody);
    expect(await after.unwrap(wrapped, context)).toEqual(modelKey);
    await after.close();
    expect(await readFile(custody.path)).toEqual(file);
  });

  it('KC-46: the refusal names the PCRs that differ, expected and found', async () => {
    await approveNow(custody);
    const [, approved] = (await readTpmCustodyStatus(custody, APPROVED_PCRS)).pcrs;
    await extend(11);
    const [, found] = (await readTpmCustodyStatus(custody, APPROVED_PCRS)).pcrs;
    const refusal = await openTpmCustody(custody).catch((error: unknown) => error);
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    expect(isRefusal(refusal) && refusal.refusal).toMatchObject({
      code: 'custody-tpm-not-approved',
      expected: `PCR 11 ${hex(approved!.value)}`,
      found: `PCR 11 ${hex(found!.value)}`,
    });
  });

  it('KC-43: approvals of a withdrawn version open nothing more, and the last one is not withdrawn', async () => {
    await approveNow(custody);
    const next = custody.firstVersion + 1;
    const withdrawing = (): Promise<string> => refusalCodeAsync(() => withdrawApprovalsBelow(custody, next));
    expect(await withdrawing()).toBe('custody-approval-withdrawn');
    expect(await opening()).toBe('accepted');
    const later = await approveNow(custody, { version: next });
    expect(await withdrawing()).toBe('accepted');
    expect((await readTpmCustodyStatus(custody, [7])).counter).toBe(BigInt(next));
    expect(await opening()).toBe('accepted');
    await writeFile(later, '{}');
    expect(await opening()).toBe('custody-approval-withdrawn');
    expect((await readTpmCustodyStatus(custody, [7])).refused).toHaveLength(1);
    const far = (): Promise<void> => withdrawApprovalsBelow(custody, next + 1000);
    await approveNow(custody, { version: next + 1000 });
    expect(await refusalCodeAsync(far)).toBe('custody-version-far');
  });

  it('KC-44: only the signer approves, and for one custody', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const install = async (bytes: Uint8Array): Promise<string> => {
      const { approvals } = custody;
      const known = await rules();
      return await refusalCodeAsync(() => installApproval(approvals, bytes, known));
    };
    expect(await install(await approvalOfNow(custody, { signer: privateKey }))).toBe(
      'custody-approval-signature',
    );
    const other = await newTpmCustody(simulator);
    expect(await install(await approvalOfNow(other))).toBe('custody-approval-other');
    await other.remove();
    expect(await install(await approvalOfNow(custody))).toBe('accepted');
  });

  it('KC-44: an approval that was edited is refused', async () => {
    const bytes = await approvalOfNow(custody);
    const known = await rules();
    const edit = async (change: (document: Record<string, JsonValue>) => void): Promise<string> => {
      const document = structuredClone(decodeCanonicalJson(bytes, { maxBytes: 8192 }, 'approval')) as Record<
        string,
        JsonValue
      >;
      change(document);
      return await refusalCodeAsync(() => readApproval(encodeCanonicalJson(document), known, 'approval'));
    };
    const zeros = '00'.repeat(32);
    expect(await edit(() => undefined)).toBe('accepted');
    expect(await edit((one) => (one['approvalVersion'] = 99))).toBe('custody-approval-signature');
    expect(await edit((one) => (one['pcrs'] = [{ pcr: 7, value: zeros }]))).toBe(
      'custody-approval-signature',
    );
    expect(await edit((one) => (one['pcrs'] = []))).toBe('shape-mismatch');
    const twice = [
      { pcr: 7, value: zeros },
      { pcr: 7, value: zeros },
    ];
    expect(await edit((one) => (one['pcrs'] = twice))).toBe('shape-mismatch');
    expect(await edit((one) => (one['mode'] = 'production'))).toBe('custody-approval-other');
    expect(await edit((one) => (one['comment'] = 'x'))).toBe('shape-mismatch');
    for (let at = 0; at < bytes.length; at += 7) {
      const damaged = Uint8Array.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      expect(await refusalCodeAsync(() => readApproval(damaged, known, 'approval')), `${at}`).not.toBe(
        'accepted',
      );
    }
  });

  async function editFile(change: (document: TpmCustodyDocument) => TpmCustodyDocument): Promise<string> {
    const document = await readTpmCustodyFile(custody.path, custody);
    await writeFile(custody.path, encodeCanonicalJson(change(document)));
    const code = await opening();
    await writeFile(custody.path, encodeCanonicalJson(document));
    return code;
  }

  it('KC-45: a custody file that was edited is refused', async () => {
    await approveNow(custody);
    const other = 'ab'.repeat(16);
    const withKey = (
      document: TpmCustodyDocument,
      change: Partial<TpmCustodyDocument['keys'][number]>,
    ): TpmCustodyDocument => ({ ...document, keys: document.keys.map((key) => ({ ...key, ...change })) });
    expect(await editFile((one) => ({ ...withKey(one, { id: other }), current: other }))).toBe(
      'custody-tpm-damaged',
    );
    expect(await editFile((one) => ({ ...one, current: other }))).toBe('key-file-damaged');
    expect(await editFile((one) => ({ ...one, keys: [...one.keys, ...one.keys] }))).toBe('key-file-damaged');
    expect(await editFile((one) => ({ ...one, origin: 'example.com' }))).toBe('keyring-other-server');
    expect(await editFile((one) => withKey(one, { privateArea: 'AAEA' }))).toBe('tpm-sealed-other');
    expect(await editFile((one) => withKey(one, { privateArea: 'AAIA' }))).toBe('layout-truncated');
    const flipped = (text: string): string =>
      text.slice(0, 100) + (text[100] === 'A' ? 'B' : 'A') + text.slice(101);
    expect(await editFile((one) => withKey(one, { privateArea: flipped(one.keys[0]!.privateArea) }))).toBe(
      'tpm-sealed-other',
    );
    expect(await editFile((one) => ({ ...one, storageKey: `000b${'00'.repeat(32)}` }))).toBe(
      'custody-tpm-other',
    );
    expect(await opening()).toBe('accepted');
  });

  it('KC-40: a key that somebody else sealed is refused, for another signer and for ours', async () => {
    await approveNow(custody);
    const document = await readTpmCustodyFile(custody.path, custody);
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    for (const signer of [externalSignerArea(publicKeyOf(publicKey)), signerOf(document)]) {
      const identity = identityOf(document);
      const { root, planted } = await withTpm((tpm) =>
        withSealedStorage(
          tpm,
          () => undefined,
          async (storage) => {
            const owner = { identity, signer };
            const secret = new Uint8Array(32).fill(1);
            return {
              root: await sealRootSecret(storage, owner, secret),
              planted: await sealNewKey(storage, owner, secret),
            };
          },
        ),
      );
      const change = { keys: [...document.keys, planted], current: planted.id };
      expect(await editFile((one) => ({ ...one, ...change }))).toBe('custody-tpm-damaged');
      expect(await editFile((one) => ({ ...one, root, keys: [planted], current: planted.id }))).toBe(
        'custody-tpm-damaged',
      );
    }
  });

  // Making a TPM takes as long as finding primes does.
  it('KC-40: another TPM opens nothing', { timeout: 120_000 }, async () => {
    await approveNow(custody);
    const other = await startTestTpm();
    const elsewhere = { ...custody, tpmAddress: other.tpm.address };
    // With a counter and approved PCRs alike, so that only the storage key differs.
    const folder = await temporaryFolder();
    const signer = publicKeyOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
    await createTpmCustody({
      ...elsewhere,
      path: join(folder, 'custody.json'),
      signer,
      counterIndex: DEFAULT_COUNTER_INDEX,
      closingPcr: null,
    });
    await approveNow({ ...elsewhere, signer: custody.signer });
    const code = await refusalCodeAsync(() => openTpmCustody(elsewhere));
    await other.remove();
    expect(code).toBe('custody-tpm-other');
  });

  it('KC-40: what is sealed and opened is never seen on the way to the TPM', async () => {
    await approveNow(custody);
    const frames: Uint8Array[] = [];
    const open = async (address: string): Promise<Tpm> => {
      const transport = await openTpm(address);
      return Tpm.over({
        address,
        close: () => transport.close(),
        transmit: async (command, timeoutSeconds) => {
          const response = await transport.transmit(command, timeoutSeconds);
          frames.push(command, response);
          return response;
        },
      });
    };
    const opened = await openTpmCustody({ ...custody, openTpm: open });
    await opened.rotate();
    const { current, older } = await opened.wrappingKeys();
    await opened.close();
    expect(frames.length).toBeGreaterThan(30);
    // Sealed with each key stands its identifier, which is known here.
    for (const id of [current, ...older]) {
      const bytes = Buffer.from(fromHex(id, 'id'));
      expect(frames.some((frame) => Buffer.from(frame).includes(bytes))).toBe(false);
    }
    expect(await withTpm((tpm) => tpm.handles(0x80000000, 8))).toEqual([]);
  });

  it('KC-41: a counter that somebody else defined is not taken', async () => {
    const folder = await temporaryFolder();
    const signer = publicKeyOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
    const options = { ...custody, path: join(folder, 'custody.json'), signer, closingPcr: null };
    // The index of an endorsement certificate.
    expect(await refusalCodeAsync(() => createTpmCustody({ ...options, counterIndex: 0x01c00002 }))).toBe(
      'custody-counter-taken',
    );
    const weak = publicKeyOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey);
    const making = createTpmCustody({ ...options, signer: weak, counterIndex: DEFAULT_COUNTER_INDEX });
    expect(await refusalCodeAsync(() => making)).toBe('custody-approval-key');
  });

  it('KC-48: a closed custody opens again after the next start, and not before', async () => {
    expect(await refusalCodeAsync(() => closeUntilRestart(custody))).toBe('custody-not-closable');
    const closing = await newTpmCustody(simulator, { closingPcr: CLOSING_PCR });
    const code = (): Promise<string> => refusalCodeAsync(async () => (await openTpmCustody(closing)).close());
    expect(await refusalCodeAsync(() => approveNow(closing))).toBe('custody-approval-closing');
    await approveNow(closing, { pcrs: [7, CLOSING_PCR] });
    const serving = await openTpmCustody(closing);
    const wrapped = await serving.wrap(modelKey, context);
    await closeUntilRestart(closing);
    expect(await code()).toBe('custody-tpm-not-approved');
    expect(await refusalCodeAsync(() => serving.rotate())).toBe('custody-tpm-not-approved');
    expect(await serving.unwrap(wrapped, context)).toEqual(modelKey);
    await serving.close();
    await simulator.tpm.reset();
    expect(await code()).toBe('accepted');
    await closing.remove();
  });

  it('KC-49: as a home has it, made and approved beforehand', async () => {
    const folder = await temporaryFolder();
    const { origin, mode } = custody;
    const home = { folder, origin, mode, passphrase: 'unused' };
    const settings = { file: custody.path, approvals: custody.approvals, tpm: simulator.tpm.address };
    const unmade = { ...settings, file: 'custody.json' };
    expect(await refusalCodeAsync(() => tpmCustodyProvider.prepare(unmade, home))).toBe(
      'custody-tpm-not-made',
    );
    await tpmCustodyProvider.prepare(settings, home);
    const opening = async (): Promise<void> => (await tpmCustodyProvider.open(settings, home)).close();
    expect(await refusalCodeAsync(opening)).toBe('custody-tpm-not-approved');
    await approveNow(custody);
    expect(await refusalCodeAsync(opening)).toBe('accepted');
    const other = { ...home, origin: 'other.example' };
    expect(await refusalCodeAsync(() => tpmCustodyProvider.open(settings, other))).toBe(
      'keyring-other-server',
    );
  });

  it('KC-44: an RSA key approves too', async () => {
    const folder = await temporaryFolder();
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const made = {
      ...custody,
      path: join(folder, 'custody.json'),
      approvals: join(folder, 'approvals'),
      signer: privateKey,
    };
    const counter = await createTpmCustody({
      ...made,
      signer: publicKeyOf(publicKey),
      counterIndex: DEFAULT_COUNTER_INDEX,
      closingPcr: null,
    });
    await approveNow(made, { version: Number(counter) });
    const opened = await openTpmCustody(made);
    expect(await opened.unwrap(await opened.wrap(modelKey, context), context)).toEqual(modelKey);
    await opened.close();
  });
});
