/** The console asks about a request as the one that it shows: by its route. */
import { expect, it } from 'vitest';
import { questionOf as read } from '../../../src/admission/explain.ts';
import { questionOf } from '../../../src/console/question.ts';
import { API_ROUTES, isCommon, ROUTES } from '../../../src/domain/routes.ts';
import { aLine } from '../../support/a-console.ts';

it.each(API_ROUTES)('of a request to %s', (route) => {
  const question = questionOf(aLine('a', { route, tenant: 'quiet', model: 'm', stream: false }));
  if (!isCommon(route)) {
    expect(question).toBeUndefined();
    return;
  }
  expect(question).toMatchObject({ tenant: 'quiet', method: 'POST', path: ROUTES[route].path });
  expect(read(question).kind).toBe('ok');
  const { body } = question as { readonly body: string };
  expect(JSON.parse(body)).toMatchObject({ model: 'm' });
  expect(body).not.toContain('stream');
});

it('a stream is asked about as a stream; what has no model, or is no route of the API, is not asked about', () => {
  expect(questionOf(aLine('a', { stream: true }))).toMatchObject({
    body: expect.stringContaining('"stream":true') as string,
  });
  const { model: _, ...without } = aLine('a');
  expect(questionOf(without)).toBeUndefined();
  expect(questionOf(aLine('a', { route: 'constructor' }))).toBeUndefined();
});
