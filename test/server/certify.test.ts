/** Enrolment by both kinds of endorsement keys, and of a further key by certification, over HTTP and with a simulated TPM (docs/spec/tpm-identity.md section 3). */

import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toBase64, toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { Tpm } from '../../native/tpm-commands/tpm.ts';
import { enrolByCertification, type CertifyingTpm } from '../../src/agent/certified-enrolment.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import { TpmAttester } from '../../src/agent/tpm/attester.ts';
import { findEndorsement } from '../../src/agent/tpm/endorsement.ts';
import { TpmCertifier } from '../../src/agent/tpm/certifier.ts';
import { encodeEnvelope, signEnvelope } from '../../src/platform/dsse.ts';
import { examplePredicates, signerOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { SUBJECT, TestServer } from '../support/release-server.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../support/swtpm.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

const CERTIFICATION_TYPE = 'application/vnd.weightgate.certification-request.v1+json';

/** The endorsement keys of the simulator: RSA of the low range, P-384 of the high one. */
const TEMPLATES = ['L-1', 'H-3'] as const;

interface Offer {
  readonly certification: string;
  readonly nonce: string;
  readonly expiresAt: number;
}

async function begin(server: TestServer, keys: Pick<CertifyingTpm, 'certifyingKey' | 'attestationKey'>) {
  const message = {
    version: 1,
    lab: 'lab-one',
    certifyingKey: toBase64(keys.certifyingKey),
    attestationKey: toBase64(keys.attestationKey),
  };
  const signer = signerOf('lab one');
  const envelope = await signEnvelope(CERTIFICATION_TYPE, encodeCanonicalJson(message), [signer]);
  return (await server.client.post('/v1/certifications', encodeEnvelope(envelope))) as unknown as Offer;
}

function answer(server: TestServer, certification: string, members: JsonValue): Promise<JsonValue> {
  return server.client.post(`/v1/certifications/${certification}/statement`, encodeCanonicalJson(members));
}

function pemOf(certificate: Uint8Array): string {
  const body = Buffer.from(certificate).toString('base64').replaceAll(/.{64}/g, '$&\n').trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;
}

describe.skipIf(swtpmMissing !== undefined)('a further key of an enrolled TPM', () => {
  let simulator: TestTpm;

  beforeAll(async () => {
    simulator = await startTestTpm();
  });
  afterAll(() => simulator.remove());

  async function endorsementKeyDigestOf(template: (typeof TEMPLATES)[number]): Promise<string> {
    const tpm = await Tpm.open(simulator.tpm.address);
    const { certificate } = await findEndorsement(tpm, [template]).finally(() => tpm.close());
    const { subjectPublicKeyInfo } = readCertificate(certificate, 'certificate');
    return createHash('sha256').update(subjectPublicKeyInfo).digest('hex');
  }

  /** A server that knows the simulator's authority, for whose lab the simulator is accredited. */
  async function readyServer(): Promise<TestServer> {
    const server = await TestServer.createReady();
    const folder = join(server.path, 'anchors/simulated/tpm');
    const [root, ...issuers] = simulator.anchors;
    await writeFile(join(folder, 'simulator.pem'), pemOf(root!));
    await mkdir(join(folder, 'intermediates'));
    for (const [i, issuer] of issuers.entries())
      await writeFile(join(folder, `intermediates/issuer-${i}.pem`), pemOf(issuer));
    await server.restart();
    const machines = await Promise.all(
      TEMPLATES.map(async (name) => ({ name, endorsementKeyDigest: await endorsementKeyDigestOf(name) })),
    );
    const { accreditation } = examplePredicates;
    const statedAt = accreditation.statedAt + 1;
    const endsAt = server.clock.start + 1_000_000;
    await server.state('lab-accreditation/v1', { ...accreditation, machines, statedAt, endsAt });
    return server;
  }

  it.each(TEMPLATES)('EK-9, EK-11: is enrolled by its endorsement key %s', async (template) => {
    const server = await readyServer();
    for (const keyAlgorithm of ['ecc-p256', 'rsa-2048'] as const) {
      const options = { keyAlgorithm, endorsementTemplates: [template] };
      const attester = await TpmAttester.open(simulator.tpm.address, options);
      await enrol(server.agent(), attester).finally(() => attester.close());
      expect(await server.lastEntry()).toMatchObject({
        type: 'enrolment',
        attestationKeyName: toHex(attester.attestationKeyName),
        endorsementKeyDigest: await endorsementKeyDigestOf(template),
      });
      expect(await server.lastEntry()).not.toHaveProperty('certifiedBy');
    }
  });

  async function enrolFirst(server: TestServer): Promise<string> {
    const attester = await TpmAttester.open(simulator.tpm.address, { keyAlgorithm: 'ecc-p256' });
    await enrol(server.agent(), attester);
    await attester.close();
    return toHex(attester.attestationKeyName);
  }

  async function withCertifier<T>(work: (certifier: TpmCertifier) => Promise<T>): Promise<T> {
    const kinds = { certifiedBy: 'ecc-p256', keyAlgorithm: 'rsa-2048' } as const;
    const certifier = await TpmCertifier.open(simulator.tpm.address, kinds);
    try {
      return await work(certifier);
    } finally {
      await certifier.close();
    }
  }

  it('EK-11, EK-12 to EK-16: is enrolled by the word of the enrolled one, and then gives evidence', async () => {
    const server = await readyServer();
    const first = await enrolFirst(server);
    const second = await withCertifier((certifier) => enrolByCertification(server.agent(), certifier));
    expect(second).not.toBe(first);
    expect(await server.lastEntry()).toMatchObject({
      type: 'enrolment',
      lab: 'lab-one',
      attestationKeyName: second,
      certifiedBy: first,
      simulated: true,
    });
    const attester = await TpmAttester.open(simulator.tpm.address, { keyAlgorithm: 'rsa-2048' });
    // The simulator measured nothing: its registers are refused, and its key is not.
    const code = await refusalCodeAsync(() => requestRelease(server.agent(), SUBJECT, [attester]));
    await attester.close();
    expect(code).toMatch(/^tpm-pcr-/);
  });

  it('EK-12: is not enrolled by a key that is not', async () => {
    const server = await readyServer();
    const code = await withCertifier((certifier) =>
      refusalCodeAsync(() => enrolByCertification(server.agent(), certifier)),
    );
    expect(code).toBe('enrolment-certifier');
  });

  it('EK-13: a nonce is used once, whatever the outcome, and expires', async () => {
    const server = await readyServer();
    await enrolFirst(server);
    await withCertifier(async (certifier) => {
      const first = await begin(server, certifier);
      expect(first.expiresAt - server.clock.posixSeconds()).toBe(120);
      const { attest, signature } = await certifier.certify(new Uint8Array(32));
      const statement = { version: 1, attest: toBase64(attest), signature: toBase64(signature) };
      expect(await refusalCodeAsync(() => answer(server, first.certification, statement))).toBe(
        'tpm-certify-binding',
      );
      expect(await refusalCodeAsync(() => answer(server, first.certification, statement))).toBe(
        'enrolment-unknown',
      );
      const late = await begin(server, certifier);
      server.clock.advance(120);
      expect(await refusalCodeAsync(() => answer(server, late.certification, statement))).toBe(
        'enrolment-unknown',
      );
    });
  });

  it('EK-13: a nonce outlives a restart, and is no credential', async () => {
    const server = await readyServer();
    await enrolFirst(server);
    await withCertifier(async (certifier) => {
      const offer = await begin(server, certifier);
      await server.restart();
      const credential = encodeCanonicalJson({ version: 1, credential: offer.nonce });
      const path = `/v1/enrolments/${offer.certification}/activation`;
      expect(await refusalCodeAsync(() => server.client.post(path, credential))).toBe('enrolment-unknown');
      const { attest, signature } = await certifier.certify(new Uint8Array(32));
      const statement = { version: 1, attest: toBase64(attest), signature: toBase64(signature) };
      expect(await refusalCodeAsync(() => answer(server, offer.certification, statement))).toBe(
        'tpm-certify-binding',
      );
    });
  });
});
