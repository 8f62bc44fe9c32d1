/** The OpenAPI 3.1 document, from the schemas that validate. */
import type { App } from './endpoint.ts';

export function openApiDocument(app: App, version: string): object {
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'openservice center',
      version,
      description:
        'Pools, sets, blocks and the jobs on them. What touches data answers 202 with Location of its job. Errors are RFC 9457 ' +
        'application/problem+json with a stable code. Idempotency-Key is honoured on PUT, POST and DELETE.',
      license: { name: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
  });
}
