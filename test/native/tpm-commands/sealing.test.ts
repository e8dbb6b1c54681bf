import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { bigEndian, encode } from '../../../attestation/core/layout.ts';
import { readSubjectPublicKeyInfo } from '../../../attestation/core/public-key.ts';
import { tpmHash } from '../../../attestation/tpm/hash.ts';
import { Algorithm, publicAreaSized, signature, type Signature } from '../../../attestation/tpm/layout.ts';
import { computeName } from '../../../attestation/tpm/name.ts';
import { computeNvName, NvIndexAttribute } from '../../../attestation/tpm/nv-index.ts';
import { selectPcrs } from '../../../attestation/tpm/pcr-selection.ts';
import {
  approvalMessage,
  Comparison,
  emptyPolicy,
  policyAuthorizedBy,
  policyWithNv,
  policyWithPcrs,
} from '../../../attestation/tpm/policy-digest.ts';
import { externalSignerArea, storageRootKeyTemplate } from '../../../attestation/tpm/sealing-templates.ts';
import { Handle } from '../../../native/tpm-commands/commands.ts';
import { privateAreaSized } from '../../../native/tpm-commands/sealing-commands.ts';
import {
  type PolicyApproval,
  type PolicySession,
  type SealedStorage,
  withSealedStorage,
} from '../../../native/tpm-commands/sealing.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';
import { tpm2Tools, type Tpm2Tools, tpm2ToolsMissing } from '../../support/tpm2-tools.ts';

const missing = swtpmMissing ?? tpm2ToolsMissing;
if (missing !== undefined) process.stderr.write(`skipped: ${missing}\n`);

const hash = tpmHash(Algorithm.sha256, 'hash');
const PCRS = { bank: hash, pcrs: [7, 11, 23] };
const COUNTER = 0x01800077;
const COUNTER_ATTRIBUTES =
  NvIndexAttribute.ownerWrite | NvIndexAttribute.counter | NvIndexAttribute.authRead | NvIndexAttribute.noDA;
const SECRET = new Uint8Array(32).map((_byte, i) => i + 1);
const REFERENCE = hash.digest(toUtf8('a custody'));

function publicKeyOf(key: KeyObject): ReturnType<typeof readSubjectPublicKeyInfo> {
  return readSubjectPublicKeyInfo(key.export({ type: 'spki', format: 'der' }), 'key');
}

const signers = {
  ecdsa: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  rsassa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};

function approve(kind: keyof typeof signers, approvedPolicy: Uint8Array): PolicyApproval {
  const { privateKey, publicKey } = signers[kind];
  const message = approvalMessage(approvedPolicy, REFERENCE);
  const raw = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const made: Signature =
    kind === 'rsassa'
      ? { algorithm: Algorithm.rsassa, hash: Algorithm.sha256, signature: raw }
      : {
          algorithm: Algorithm.ecdsa,
          hash: Algorithm.sha256,
          r: raw.subarray(0, 32),
          s: raw.subarray(32),
        };
  return {
    approvedPolicy,
    reference: REFERENCE,
    signer: externalSignerArea(publicKeyOf(publicKey)),
    signature: made,
  };
}

describe.skipIf(missing !== undefined)('sealing', () => {
  let simulator: TestTpm;
  let tpm: Tpm;
  let folder: string;
  let tools: Tpm2Tools;

  beforeAll(async () => {
    simulator = await startTestTpm();
    folder = await mkdtemp(join(tmpdir(), 'weightgate-sealing-'));
    tools = tpm2Tools(simulator.tpm.address, folder);
    const attributes = 'ownerwrite|authread|no_da|nt=counter';
    await tools.run('nvdefine', '-C', 'o', '-s', '8', '-a', attributes, `0x${COUNTER.toString(16)}`);
    await tools.run('nvincrement', '-C', 'o', `0x${COUNTER.toString(16)}`);
    tpm = await Tpm.open(simulator.tpm.address);
  });
  afterAll(async () => {
    await tpm.close();
    await simulator.remove();
    await rm(folder, { recursive: true, force: true });
  });

  const counter = {
    index: COUNTER,
    nameAlgorithm: Algorithm.sha256,
    attributes: COUNTER_ATTRIBUTES | NvIndexAttribute.written,
    authPolicy: new Uint8Array(0),
    dataBytes: 8,
  };
  const indexName = computeNvName(counter);
  const withStorage = <T>(work: (storage: SealedStorage) => Promise<T>): Promise<T> =>
    withSealedStorage(tpm, () => undefined, work);
  const withSession = <T>(work: (session: PolicySession) => Promise<T>): Promise<T> =>
    withStorage((storage) => storage.withPolicySession(work));

  async function pcrPolicy(): Promise<Uint8Array> {
    const values = await tpm.readPcrs(selectPcrs(PCRS));
    return policyWithPcrs(
      hash,
      emptyPolicy(hash),
      PCRS,
      values.map(({ value }) => value),
    );
  }

  const counterAt = async (): Promise<Uint8Array> => tpm.readNv(COUNTER);

  async function sealFor(
    policy: Uint8Array,
    open: (session: PolicySession) => Promise<void>,
  ): Promise<string> {
    const opened = await withStorage(async (storage) => {
      const sealed = await storage.seal(policy, SECRET);
      return await storage.unseal(sealed, open);
    });
    return toHex(opened);
  }

  it('KC-41: PolicyPCR comes to the digest that is computed here, and tpm2_policypcr too', async () => {
    const digest = await withSession(async (session) => {
      await session.assertPcrs(selectPcrs(PCRS));
      return await session.digest();
    });
    const computed = await pcrPolicy();
    expect(toHex(digest)).toBe(toHex(computed));
    await tools.run('startauthsession', '-S', 'trial.ctx');
    await tools.run('policypcr', '-S', 'trial.ctx', '-l', 'sha256:7,11,23', '-L', 'pcr.policy');
    await tools.run('flushcontext', 'trial.ctx');
    expect(toHex(await readFile(join(folder, 'pcr.policy')))).toBe(toHex(computed));
  });

  it('KC-41: PolicyNV comes to the digest that is computed here, by the Name that is computed here', async () => {
    const operand = await counterAt();
    const digest = await withSession(async (session) => {
      await session.assertNv(counter, Comparison.unsignedAtMost, operand);
      return await session.digest();
    });
    const comparison = { indexName, operand, offset: 0, operation: Comparison.unsignedAtMost };
    expect(toHex(digest)).toBe(toHex(policyWithNv(hash, emptyPolicy(hash), comparison)));
  });

  it('KC-43: PolicyNV refuses a version below the counter', async () => {
    const below = encode(bigEndian.u64(), Buffer.from(await counterAt()).readBigUInt64BE() - 1n, 'version');
    const asserting = (): Promise<void> =>
      withSession((session) => session.assertNv(counter, Comparison.unsignedAtMost, below));
    expect(await refusalCodeAsync(asserting)).toBe('tpm-response');
  });

  it.each(['ecdsa', 'rsassa'] as const)(
    'KC-42: an approval by %s opens, and its digest is ours',
    async (kind) => {
      const approval = approve(kind, await pcrPolicy());
      const policy = policyAuthorizedBy(hash, computeName(approval.signer), REFERENCE);
      let digest: Uint8Array = new Uint8Array(0);
      const opened = await sealFor(policy, async (session) => {
        await session.assertPcrs(selectPcrs(PCRS));
        await session.authorize(approval);
        digest = await session.digest();
      });
      expect(toHex(digest)).toBe(toHex(policy));
      expect(opened).toBe(toHex(SECRET));
      await tools.flush();
    },
  );

  it('KC-42: another state, another signer and no approval do not open', async () => {
    const approval = approve('ecdsa', await pcrPolicy());
    const policy = policyAuthorizedBy(hash, computeName(approval.signer), REFERENCE);
    const open = (assert: (session: PolicySession) => Promise<void>): Promise<string> =>
      refusalCodeAsync(() => sealFor(policy, assert));
    expect(await open(async (session) => session.assertPcrs(selectPcrs(PCRS)))).toBe('tpm-response');
    const foreign = approve('rsassa', approval.approvedPolicy);
    const asForeign = async (session: PolicySession): Promise<void> => {
      await session.assertPcrs(selectPcrs(PCRS));
      await session.authorize(foreign);
    };
    expect(await open(asForeign)).toBe('tpm-response');
    const forged = { ...approval, signature: foreign.signature };
    expect(await open(async (session) => session.authorize(forged))).toBe('tpm-response');
    await tpm.extendPcr(11, SECRET);
    const asApproved = async (session: PolicySession): Promise<void> => {
      await session.assertPcrs(selectPcrs(PCRS));
      await session.authorize(approval);
    };
    expect(await open(asApproved)).toBe('tpm-response');
  });

  it('KC-40: the empty password does not open', async () => {
    const policy = await pcrPolicy();
    const sealed = await withStorage((storage) => storage.seal(policy, SECRET));
    await writeFile(join(folder, 'free.pub'), encode(publicAreaSized, sealed.publicArea, 'public'));
    await writeFile(join(folder, 'free.priv'), encode(privateAreaSized, sealed.privateArea, 'private'));
    await loadByTools('free');
    await expect(tools.run('unseal', '-c', 'free.ctx')).rejects.toThrow(/0x12F|auth/i);
    await tools.flush();
  });

  /** The tools name our storage root key by its handle: they have no word for its template. */
  async function loadByTools(name: string): Promise<void> {
    const { handle } = await tpm.createPrimary(Handle.owner, storageRootKeyTemplate);
    const parent = `0x${handle.toString(16)}`;
    await tools.run('load', '-C', parent, '-u', `${name}.pub`, '-r', `${name}.priv`, '-c', `${name}.ctx`);
    await tpm.flush(handle);
  }

  it('KC-42: tpm2_policyauthorize and tpm2_unseal open what was sealed here', async () => {
    const approval = approve('ecdsa', await pcrPolicy());
    const policy = policyAuthorizedBy(hash, computeName(approval.signer), REFERENCE);
    const sealed = await withStorage((storage) => storage.seal(policy, SECRET));
    const files: Record<string, Uint8Array> = {
      'ours.pub': encode(publicAreaSized, sealed.publicArea, 'public'),
      'ours.priv': encode(privateAreaSized, sealed.privateArea, 'private'),
      'signer.pub': encode(publicAreaSized, approval.signer, 'signer'),
      'signer.name': computeName(approval.signer),
      'approved.policy': approval.approvedPolicy,
      reference: REFERENCE,
      message: approvalMessage(approval.approvedPolicy, REFERENCE),
      signature: encode(signature, approval.signature, 'signature'),
    };
    for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes);
    await tools.run('loadexternal', '-C', 'o', '-u', 'signer.pub', '-c', 'signer.ctx');
    await tools.run(
      'verifysignature',
      '-c',
      'signer.ctx',
      '-g',
      'sha256',
      '-m',
      'message',
      '-s',
      'signature',
      '-t',
      'ticket',
    );
    await tools.run('flushcontext', '-t');
    await loadByTools('ours');
    await tools.run('startauthsession', '--policy-session', '-S', 'session.ctx');
    await tools.run('policypcr', '-S', 'session.ctx', '-l', 'sha256:7,11,23');
    await tools.run(
      'policyauthorize',
      '-S',
      'session.ctx',
      '-i',
      'approved.policy',
      '-q',
      'reference',
      '-n',
      'signer.name',
      '-t',
      'ticket',
    );
    await tools.run('unseal', '-c', 'ours.ctx', '-p', 'session:session.ctx', '-o', 'opened');
    expect(toHex(await readFile(join(folder, 'opened')))).toBe(toHex(SECRET));
    await tools.flush();
  });

  it('TA-10: nothing stays loaded, also after refusals', async () => {
    expect(await tpm.handles(0x80000000, 254)).toEqual([]);
    expect(await tpm.handles(0x02000000, 254)).toEqual([]);
  });
});
