import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { createLogger } from '../../src/platform/logging.ts';
import { openServerHome } from '../../src/server/home.ts';
import { startServer } from '../../src/server/serve.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { manifestDigest, PASSPHRASE, TestServer } from '../support/release-server.ts';

const logger = createLogger('silent');

describe('starting and stopping', () => {
  it('a TLS file that is none and a port that is taken are refused, and the home is closed again', async () => {
    const server = await TestServer.createReady();
    await server.stop();
    const home = await openServerHome(server.path, PASSPHRASE, server.clock);
    const taken = await startServer(home, logger, server.clock);
    const other = await TestServer.createReady();
    const { listen } = other.home.configuration;
    await other.stop();
    const second = await openServerHome(other.path, PASSPHRASE, server.clock);
    const onTakenPort = { ...listen, port: Number(new URL(taken.address).port) };
    const configuration = { ...second.configuration, listen: onTakenPort };
    const start = (): Promise<unknown> => startServer({ ...second, configuration }, logger, server.clock);
    expect(await refusalCodeAsync(start)).toBe('home-port');
    await taken.close();

    await writeFile(join(other.path, 'tls/server.pem'), 'not a certificate');
    const spoilt = await openServerHome(other.path, PASSPHRASE, server.clock);
    expect(await refusalCodeAsync(() => startServer(spoilt, logger, server.clock))).toBe('home-tls');
    // Nothing holds the log any more.
    await (await openServerHome(other.path, PASSPHRASE, server.clock)).closeAll();
  });

  it('CL-2: stopping ends kept connections, answers nobody after it, and may be asked for twice', async () => {
    const server = await TestServer.createReady();
    const body = encodeCanonicalJson({ version: 1, lab: 'lab-one', manifestDigest });
    await server.client.post('/v1/challenges', body);
    const running = server.client.post('/v1/challenges', body);
    const outcomes = await Promise.allSettled([running, server.running.close(), server.running.close()]);
    expect(outcomes.slice(1).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
    expect(await refusalCodeAsync(() => server.client.post('/v1/challenges', body))).toBe(
      'server-unreachable',
    );
    expect(() => server.home.storage.findLease('x')).toThrow();
  });
});
