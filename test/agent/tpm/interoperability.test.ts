import { randomBytes, createPublicKey, type JsonWebKey } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { toBase64, toHex } from '../../../attestation/core/bytes.ts';
import { bigEndian, decode, encode, sizedBytes } from '../../../attestation/core/layout.ts';
import { Checklist } from '../../../attestation/core/verdict.ts';
import { encodeAgentEvent } from '../../../attestation/tpm/agent-log/read.ts';
import { agentEventDigest, replayAgentLog } from '../../../attestation/tpm/agent-log/replay.ts';
import { checkAttestationKey } from '../../../attestation/tpm/attestation-key.ts';
import { authenticateCertification, demandCertifiedObject } from '../../../attestation/tpm/certify.ts';
import { tpmHash } from '../../../attestation/tpm/hash.ts';
import { Algorithm, decodePublicArea, type PublicArea } from '../../../attestation/tpm/layout.ts';
import {
  computeName,
  computeQualifiedName,
  Hierarchy,
  hierarchyName,
} from '../../../attestation/tpm/name.ts';
import { NO_LOGS, writeTpmEvidence } from '../../../attestation/tpm/evidence.ts';
import { TpmAttester } from '../../../src/agent/tpm/attester.ts';
import { toSelectionList } from '../../../native/tpm-commands/selection.ts';
import { SaltKey } from '../../../native/tpm-commands/salt-key.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';
import {
  credentialFile,
  pcrFile,
  tpm2Tools,
  tpm2ToolsMissing,
  type Tpm2Tools,
} from '../../support/tpm2-tools.ts';
import { checkEnrolment, credentialFor, deviceValueOf, verifyEvidence } from './verification.ts';

const missing = swtpmMissing ?? tpm2ToolsMissing;
if (missing !== undefined) process.stderr.write(`skipped: ${missing}\n`);

const PCRS = [0, 1, 2, 3, 4, 7, 8, 9];
const PCR_LIST = `sha256:${PCRS.join(',')}`;
const ENDORSEMENT_KEY = '0x81010001';

const tpm2bBytes = sizedBytes(bigEndian.u16());

/** The public key of a public area in the form that OpenSSL reads. */
function toPem(publicArea: Uint8Array): string | Buffer {
  const area = decodePublicArea(publicArea, 'key');
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  const jwk: JsonWebKey =
    area.type === Algorithm.ecc
      ? { kty: 'EC', crv: 'P-256', x: text(area.unique.x), y: text(area.unique.y) }
      : { kty: 'RSA', n: text(area.unique), e: 'AQAB' };
  return createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
}

describe.skipIf(missing !== undefined)('with tpm2-tools', () => {
  let simulator: TestTpm;
  let folder: string;
  let tools: Tpm2Tools;

  const file = (name: string): string => join(folder, name);
  const read = async (name: string): Promise<Uint8Array> => new Uint8Array(await readFile(file(name)));

  beforeAll(async () => {
    simulator = await startTestTpm();
    folder = join(simulator.folder, 'tools');
    await mkdir(folder);
    tools = tpm2Tools(simulator.tpm.address, folder);
    await simulator.tpm.measureBoot(Object.fromEntries(PCRS.map((pcr) => [pcr, [randomBytes(32)]])));
  });
  afterEach(() => tools.flush());
  afterAll(() => simulator.remove());

  describe.each(['ecc-p256', 'rsa-2048'] as const)('our quotes, key %s', (keyAlgorithm) => {
    const quote = async (): Promise<{
      readonly values: readonly string[];
      readonly qualification: string;
    }> => {
      const attester = await TpmAttester.open(simulator.tpm.address, { keyAlgorithm });
      const qualifyingData = randomBytes(32);
      const quoted = await attester.quote(qualifyingData, { bank: 'sha256', pcrs: PCRS });
      await attester.close();
      await writeFile(file('ak.pem'), toPem(attester.attestationKey));
      await writeFile(file('quote.attest'), quoted.attest);
      await writeFile(file('quote.signature'), quoted.signature);
      await writeFile(file('pcrs'), pcrFile(quoted.pcrs));
      const inputs = ['-u', 'ak.pem', '-m', 'quote.attest', '-s', 'quote.signature', '-g', 'sha256'];
      return {
        values: [...inputs, '-f', 'pcrs'],
        qualification: toHex(qualifyingData),
      };
    };

    it('TA-16: are accepted by tpm2_checkquote', async () => {
      const { values, qualification } = await quote();
      expect(await tools.run('checkquote', ...values, '-q', qualification)).toContain('sig: ');
    });

    it('TA-16: are refused by tpm2_checkquote for another qualification and for other values', async () => {
      const { values, qualification } = await quote();
      await expect(tools.run('checkquote', ...values, '-q', toHex(randomBytes(32)))).rejects.toThrow();
      await writeFile(file('pcrs'), pcrFile(new Map(PCRS.map((pcr) => [pcr, randomBytes(32)]))));
      await expect(tools.run('checkquote', ...values, '-q', qualification)).rejects.toThrow();
    });
  });

  describe.each([
    ['ecc', 'ecdsa'],
    ['rsa', 'rsassa'],
    ['rsa', 'rsapss'],
  ])('a key of tpm2_createak, %s with %s', (algorithm, scheme) => {
    beforeAll(async () => {
      await tools.run('createek', '-c', 'ek.ctx', '-G', 'rsa', '-u', 'ek.pub');
      const key = ['-G', algorithm, '-g', 'sha256', '-s', scheme, '-u', 'ak.pub', '-n', 'ak.name'];
      await tools.run('createak', '-C', 'ek.ctx', '-c', 'ak.ctx', ...key);
      await tools.flush();
    });

    const enrolled = async (): Promise<Awaited<ReturnType<typeof checkEnrolment>>> => {
      const attester = await TpmAttester.open(simulator.tpm.address);
      await attester.close();
      const publicArea = decode(tpm2bBytes, await read('ak.pub'), 'ak.pub');
      return checkEnrolment(attester.endorsementCertificate, publicArea, simulator.anchors);
    };

    it('quotes what our verifier accepts', async () => {
      const enrolment = await enrolled();
      const deviceValue = deviceValueOf(enrolment, randomBytes(32));
      const output = ['-m', 'their.attest', '-s', 'their.signature', '--scheme', scheme];
      await tools.run('quote', '-c', 'ak.ctx', '-l', PCR_LIST, '-q', toHex(deviceValue), ...output);
      await tools.flush();
      const tpm = await Tpm.open(simulator.tpm.address);
      const values = await tpm.readPcrs(toSelectionList({ sha256: PCRS }));
      await tpm.close();
      const evidence = writeTpmEvidence(
        {
          akPublic: enrolment.attestationKey.publicArea,
          attest: await read('their.attest'),
          signature: await read('their.signature'),
          bank: 'sha256',
          pcrs: new Map(values.map(({ pcr, value }) => [pcr, value])),
        },
        NO_LOGS,
        null,
      );
      expect(await verifyEvidence(enrolment, evidence, { deviceValue, pcrs: PCRS })).toMatchObject({
        outcome: 'accepted',
      });
      const other = { deviceValue: randomBytes(32), pcrs: PCRS };
      expect(await verifyEvidence(enrolment, evidence, other)).toMatchObject({
        outcome: 'refused',
        refusals: [{ code: 'tpm-quote-binding' }],
      });
    });

    it('opens our credentials with tpm2_activatecredential', async () => {
      const secret = randomBytes(32);
      const { credentialBlob, encryptedSecret } = await credentialFor(await enrolled(), secret);
      const members = { magic: 0xbadcc0de, version: 1, credentialBlob, encryptedSecret };
      await writeFile(file('our.credential'), encode(credentialFile, members, 'credential'));
      await tools.run('startauthsession', '--policy-session', '-S', 'session.ctx');
      await tools.run('policysecret', '-S', 'session.ctx', '-c', 'e');
      const keys = ['-c', 'ak.ctx', '-C', ENDORSEMENT_KEY, '-P', 'session:session.ctx'];
      await tools.run('activatecredential', ...keys, '-i', 'our.credential', '-o', 'opened');
      expect(toHex(await read('opened'))).toBe(toHex(secret));
    });
  });

  it('AM-3: our events are what tpm2_pcrevent extends, and ours is what tpm2_pcrread reads', async () => {
    const event = { kind: 'model-manifest', digest: randomBytes(32) } as const;
    const bank = tpmHash(Algorithm.sha256, 'bank');
    await writeFile(file('event'), encodeAgentEvent(event));
    await tools.run('pcrevent', '13', 'event');
    const tpm = await Tpm.open(simulator.tpm.address);
    const value = async (): Promise<string> =>
      toHex((await tpm.readPcrs(toSelectionList({ sha256: [13] })))[0]!.value);
    expect(await value()).toBe(toHex(replayAgentLog({ events: [event] }, bank)));
    const key = await tpm.readPublic(Number(ENDORSEMENT_KEY));
    const salt = SaltKey.ofKeptName(key.handle, key.publicArea, key.name);
    await tpm.withSaltedSession(salt, (own) => own.extendPcr(13, agentEventDigest(event, bank)));
    await tpm.close();
    const read = await tools.run('pcrread', 'sha256:13');
    expect(read.toLowerCase()).toContain(toHex(replayAgentLog({ events: [event, event] }, bank)));
  });

  it('our verifier reads what tpm2_certify signed, and what it is bound to', async () => {
    const attester = await TpmAttester.open(simulator.tpm.address);
    await attester.close();
    await tools.run('createek', '-c', 'ek.ctx', '-G', 'rsa', '-u', 'ek.pub');
    const kind = ['-G', 'ecc', '-g', 'sha256', '-s', 'ecdsa'];
    await tools.run('createak', '-C', 'ek.ctx', '-c', 'ak.ctx', ...kind, '-u', 'ak.pub', '-n', 'ak.name');
    await tools.flush();
    await tools.run('createprimary', '-C', 'e', '-G', 'ecc', '-c', 'object.ctx');
    await tools.flush();
    const outputs = ['-o', 'certify.attest', '-s', 'certify.signature'];
    await tools.run('certify', '-c', 'object.ctx', '-C', 'ak.ctx', '-g', 'sha256', ...outputs);
    await tools.flush();
    await tools.run('readpublic', '-c', 'object.ctx', '-o', 'object.pub');
    const publicArea = async (name: string): Promise<PublicArea> =>
      decodePublicArea(decode(tpm2bBytes, await read(name), name), name);
    const checks = new Checklist();
    const key = checkAttestationKey(await publicArea('ak.pub'), checks);
    const ek = computeName(await publicArea('ek.pub'));
    const parent = computeQualifiedName(hierarchyName(Hierarchy.endorsement), ek);
    const qualifiedSigners = [computeQualifiedName(parent, key.name)];
    const presented = { attest: await read('certify.attest'), signature: await read('certify.signature') };
    // The tool binds its statements to these four bytes and offers no others.
    const expected = { key, qualifiedSigners, extraData: Uint8Array.of(0x00, 0xff, 0x55, 0xaa) };
    const statement = await authenticateCertification(presented, expected, checks);
    const object = await publicArea('object.pub');
    expect(toHex(demandCertifiedObject(statement, object, checks))).toBe(toHex(computeName(object)));
    const bound = { ...expected, extraData: randomBytes(32) };
    expect(await refusalCodeAsync(() => authenticateCertification(presented, bound, new Checklist()))).toBe(
      'tpm-certify-binding',
    );
  });

  it.each(['ecc-p256', 'rsa-2048'] as const)(
    'TA-14: our agent opens credentials of tpm2_makecredential, key %s',
    async (keyAlgorithm) => {
      const attester = await TpmAttester.open(simulator.tpm.address, { keyAlgorithm });
      const secret = randomBytes(32);
      await writeFile(file('secret'), secret);
      await tools.run('readpublic', '-c', ENDORSEMENT_KEY, '-o', 'ek.pub');
      const inputs = ['-u', 'ek.pub', '-s', 'secret', '-n', toHex(attester.attestationKeyName)];
      await tools.run('makecredential', '-T', 'none', ...inputs, '-o', 'their.credential');
      const { credentialBlob, encryptedSecret } = decode(
        credentialFile,
        await read('their.credential'),
        'credential',
      );
      const opened = await attester.activate(credentialBlob, encryptedSecret);
      await attester.close();
      expect(toBase64(opened)).toBe(toBase64(secret));
    },
  );
});
