/** A server, three witnesses of its log, and an agent that demands two of them. */

import { cp, rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { join } from 'node:path';

import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';

import { toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { enrol, requestRelease, type KeyReleaseOptions } from '../../../src/agent/key-release.ts';
import { sha256 } from '../../../src/log/sha256.ts';
import { formatVerifierKey, parseVerifierKey } from '../../../src/log/verifier-key.ts';
import { createWitnessState, openWitnessState } from '../../../src/log/witness-state.ts';
import { parseWitnessPolicy, type WitnessPolicy } from '../../../src/log/witness-policy.ts';
import { requireQuorum } from '../../../src/log/witnessed-checkpoint.ts';
import { exchangeOnce } from '../../../src/platform/http-exchange.ts';
import { createLogger } from '../../../src/platform/logging.ts';
import {
  createDevelopmentAuthority,
  type DevelopmentAuthority,
} from '../../../src/platform/tls-authority.ts';
import { formatHomeConfiguration, readHomeConfiguration } from '../../../src/server/home-configuration.ts';
import type { Listener } from '../../../src/server/listener.ts';
import { createWitnessHome, openWitnessHome } from '../../../src/server/witness/home.ts';
import { startWitness } from '../../../src/server/witness/serve.ts';
import { testWitnessSigner, WitnessedLog } from '../../log/witness-log.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { MODEL_KEY, ORIGIN, SUBJECT, TestServer } from '../../support/release-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const NAMES = ['one.example', 'two.example', 'three.example'] as const;
const LIMITS = { connections: 100, requestsPerMinute: 10_000 };

let tls: DevelopmentAuthority;
beforeAll(async () => {
  tls = await createDevelopmentAuthority([], Math.floor(Date.now() / 1000));
}, 60_000);

interface RunningWitness extends Listener {
  readonly name: string;
  readonly verifierKey: string;
}

/** One witness of the log of a server, on a state of its own. */
async function runWitness(server: TestServer, name: string): Promise<RunningWitness> {
  const path = await temporaryFolder();
  await writeFile(join(path, 'server.pem'), tls.server.certificate);
  await writeFile(join(path, 'server-key.pem'), tls.server.privateKey);
  createWitnessState(join(path, 'state'));
  const { logKey } = server.identity;
  const signer = testWitnessSigner(name);
  const listener = await startWitness(
    {
      path,
      signer,
      configuration: {
        version: 1,
        name,
        listen: { host: '127.0.0.1', port: 0 },
        tls: { certificate: 'server.pem', key: 'server-key.pem' },
        logs: [{ origin: ORIGIN, keys: [logKey] }],
        limits: LIMITS,
      },
      logs: [{ origin: ORIGIN, keys: [parseVerifierKey(logKey, 'logKey')] }],
      state: openWitnessState(join(path, 'state')),
    },
    createLogger('silent'),
    server.clock,
  );
  onTestFinished(() => listener.close());
  return { ...listener, name, verifierKey: formatVerifierKey(signer.key) };
}

function policyText(witnesses: readonly RunningWitness[]): string {
  return [
    ...witnesses.map(({ name, verifierKey, address }) => `witness ${name} ${verifierKey} ${address}`),
    `group all-of-them 2 ${NAMES.join(' ')}`,
    'quorum all-of-them',
    '',
  ].join('\n');
}

async function witnessed(required: boolean): Promise<{
  readonly server: TestServer;
  readonly witnesses: readonly RunningWitness[];
  readonly policy: WitnessPolicy;
}> {
  const server = await TestServer.createReady();
  const witnesses: RunningWitness[] = [];
  for (const name of NAMES) witnesses.push(await runWitness(server, name));
  const text = policyText(witnesses);
  await writeFile(join(server.path, 'witnesses.txt'), text);
  await writeFile(join(server.path, 'witnesses.pem'), tls.authority.certificate);
  const configuration = await readHomeConfiguration(server.path);
  const own = { policy: 'witnesses.txt', authority: 'witnesses.pem', timeoutMilliseconds: 2000, required };
  const content = formatHomeConfiguration({ ...configuration, witnesses: own });
  await writeFile(join(server.path, 'weightgate.yaml'), content);
  await server.restart();
  return { server, witnesses, policy: parseWitnessPolicy(text, 'policy') };
}

const ask = (server: TestServer, changes: Partial<KeyReleaseOptions>): Promise<string> =>
  refusalCodeAsync(() => requestRelease(server.agent(changes), SUBJECT, [server.tpm.attester]));

describe('a log with witnesses', () => {
  it('WT-16, WT-19, WT-21: one witness down is fine, two down fail closed for an agent that demands two', async () => {
    const { server, witnesses, policy } = await witnessed(false);
    await enrol(server.agent({ witnesses: policy }), server.tpm.enrolling);
    const released = await requestRelease(server.agent({ witnesses: policy }), SUBJECT, [
      server.tpm.attester,
    ]);
    expect(released.modelKey).toEqual(MODEL_KEY);
    expect(server.home.log.published.checkpoint.note.match(/— \w+\.example /g)).toHaveLength(3);
    await witnesses[0]?.close();
    expect(await ask(server, { witnesses: policy })).toBe('accepted');
    await witnesses[1]?.close();
    expect(await ask(server, { witnesses: policy })).toBe('log-quorum-missing');
    expect(await ask(server, { witnesses: 'not-required' })).toBe('accepted');
    expect(
      await refusalCodeAsync(() => enrol(server.agent({ witnesses: policy }), server.tpm.enrolling)),
    ).toBe('log-quorum-missing');
  }, 60_000);

  it('WT-19: where the server demands the quorum no key leaves without it, and the decision stands', async () => {
    const { server, witnesses } = await witnessed(true);
    await enrol(server.agent(), server.tpm.enrolling);
    expect(await ask(server, {})).toBe('accepted');
    await witnesses[0]?.close();
    await witnesses[2]?.close();
    const { size } = server.home.log.published;
    expect(await ask(server, {})).toBe('server-unwitnessed');
    expect(server.home.log.published.size).toBe(size + 1n);
    expect(await server.lastEntry()).toMatchObject({ type: 'decision', outcome: 'granted' });
  }, 60_000);

  it('WT-22: an idle log is cosigned anew, and a witness that is down keeps the line it gave', async () => {
    const { server, witnesses, policy } = await witnessed(false);
    await enrol(server.agent({ witnesses: policy }), server.tpm.enrolling);
    const timesNow = async (): Promise<readonly number[]> => {
      const { checkpoint } = server.home.log.published;
      const cosignatures = await requireQuorum(checkpoint, policy);
      return cosignatures.map(({ time }) => Number(time) - server.clock.start);
    };
    const { size } = server.home.log.published;
    expect(Math.max(...(await timesNow()))).toBe(0);
    server.clock.advance(600);
    await server.home.log.republish();
    expect(await timesNow()).toEqual([600, 600, 600]);
    await witnesses[1]?.close();
    server.clock.advance(600);
    await server.home.log.republish();
    expect(await timesNow()).toEqual([1200, 600, 1200]);
    expect(await server.home.witnesses.standingOf(server.home.log.published.checkpoint)).toEqual({
      isMet: true,
      at: BigInt(server.clock.start + 1200),
    });
    expect(server.home.log.published.size).toBe(size);
  }, 60_000);

  it('WT-10, TL-63: a log that was set back does not start', async () => {
    const { server, policy } = await witnessed(false);
    const agent = { witnesses: policy };
    await enrol(server.agent(agent), server.tpm.enrolling);
    const places = [join(server.path, 'log'), join(await temporaryFolder(), 'log')] as const;
    await server.stop();
    await cp(places[0], places[1], { recursive: true });
    await server.start();
    expect(await ask(server, agent)).toBe('accepted');
    await server.stop();
    // Database and checkpoint together, so that nothing on this machine shows it.
    await rm(places[0], { recursive: true });
    await cp(places[1], places[0], { recursive: true });
    expect(await refusalCodeAsync(() => server.start())).toBe('log-not-as-witnessed');
  }, 60_000);
});

async function fetchText(
  address: string,
  method: 'GET' | 'POST',
  path: string,
  body?: Uint8Array,
): Promise<{
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, unknown>>;
}> {
  const agent = new Agent({ ca: tls.authority.certificate });
  const bounds = { signal: AbortSignal.timeout(5000), maxAnswerBytes: 100_000 };
  const exchange = { method, headers: body === undefined ? {} : { 'content-length': body.length } };
  const message = body === undefined ? exchange : { ...exchange, body };
  const answer = await exchangeOnce(new URL(path, address), agent, message, bounds);
  agent.destroy();
  return { status: answer.status, text: Buffer.from(answer.body).toString(), headers: answer.headers };
}

describe('a witness over HTTPS', () => {
  it('WT-10, WT-15: answers as C2SP tlog-witness says, and nothing else has a path', async () => {
    const server = await TestServer.createReady();
    const { address, verifierKey } = await runWitness(server, NAMES[0]);
    const { note } = server.home.log.published.checkpoint;
    const cosigned = await fetchText(address, 'POST', '/add-checkpoint', toUtf8(`old 0\n\n${note}`));
    expect(cosigned.status).toBe(200);
    expect(cosigned.text).toMatch(/^— one\.example \S+\n$/);
    expect(verifierKey).toMatch(/^one\.example\+/);
    const again = await fetchText(address, 'POST', '/add-checkpoint', toUtf8(`old 0\n\n${note}`));
    expect(again).toMatchObject({ status: 409, headers: { 'content-type': 'text/x.tlog.size' } });
    const digest = toHex(sha256(toUtf8(ORIGIN)));
    const shown = await fetchText(address, 'GET', `/${digest}/checkpoint`);
    expect(shown).toMatchObject({ status: 200, text: `${note}${cosigned.text}` });
    const statuses = await Promise.all([
      fetchText(address, 'GET', `/${'0'.repeat(64)}/checkpoint`),
      fetchText(address, 'GET', '/add-checkpoint'),
      fetchText(address, 'GET', '/'),
      fetchText(address, 'POST', '/add-checkpoint', new Uint8Array(70_000)),
      fetchText(address, 'POST', '/add-checkpoint', new Uint8Array(0)),
    ]);
    expect(statuses.map(({ status }) => status)).toEqual([404, 405, 404, 400, 400]);
  }, 60_000);

  it('WT-13: its home is made by its own command, once, and its configuration is read strictly', async () => {
    const path = join(await temporaryFolder(), 'witness');
    const log = formatVerifierKey(new WitnessedLog(ORIGIN).signer.key);
    const home = {
      path,
      name: 'witness.example',
      listen: { host: '127.0.0.1', port: 0 },
      hosts: [],
      logs: [{ origin: ORIGIN, keys: [log] }],
      passphrase: 'a passphrase',
      clock: { posixSeconds: () => Math.floor(Date.now() / 1000), monotonicMilliseconds: () => 0 },
    };
    const { verifierKey } = await createWitnessHome(home);
    const opened = await openWitnessHome(path, home.passphrase);
    expect(formatVerifierKey(opened.signer.key)).toBe(verifierKey);
    expect(parseVerifierKey(verifierKey, 'key').algorithm).toBe('ed25519-cosignature');
    expect(opened.logs.map(({ origin }) => origin)).toEqual([ORIGIN]);
    opened.state.close();
    expect(await refusalCodeAsync(() => createWitnessHome(home))).toBe('home-exists');
    expect(await refusalCodeAsync(() => openWitnessHome(join(path, 'tls'), 'a'))).toBe('home-not-found');
    const twice = { ...home, path: `${path}-2`, logs: [...home.logs, ...home.logs] };
    expect(await refusalCodeAsync(() => createWitnessHome(twice))).toBe('home-witness-logs');
    const cosigner = { ...twice, logs: [{ origin: 'other', keys: [verifierKey] }] };
    expect(await refusalCodeAsync(() => createWitnessHome(cosigner))).toBe('home-witness-logs');
  }, 60_000);
});
