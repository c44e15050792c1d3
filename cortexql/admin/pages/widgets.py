"""Widgets of a dashboard: their answers, as figures, charts, tables and CSV, and the form that makes them."""

import csv
import io

from starlette.responses import Response

from cortexql.admin.charts import Chart, cell, to_chart
from cortexql.admin.pages.dashboards import Shown, find, number
from cortexql.admin.visit import Visit, file_headers
from cortexql.admin.widget_form import Form, empty_form, form_of, read_form
from cortexql.errors import CortexError, ForbiddenError
from cortexql.services import dashboards, questions, widgets
from cortexql.services.dashboards import find_widget
from cortexql.services.widgets import Widget, WidgetType


async def show(visit: Visit) -> Response:
    """Show a widget's answer; a question that cannot be answered says why in its place."""
    async with visit.open() as tx:
        shown = await find(visit, tx)
    widget = find_widget(shown.content, str(visit.request.path_params["widget"]))
    chart, error = await _answer(visit, widget)
    return visit.page(
        "dashboards/widget.html",
        partial="dashboards/_answer.html",
        shown=shown,
        widget=widget,
        chart=chart,
        error=error,
    )


async def to_csv(visit: Visit) -> Response:
    """Send a widget's answer as CSV."""
    async with visit.open() as tx:
        shown = await find(visit, tx)
        widget = find_widget(shown.content, str(visit.request.path_params["widget"]))
        chart = to_chart(widget, await questions.answer(tx, widget))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow([cell(name) for name in chart.columns])
    writer.writerows([cell(value) for value in row] for row in chart.rows)
    headers = file_headers(f"dashboard-{shown.id}-{widget.id}.csv")
    return Response(lines.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


async def show_form(visit: Visit) -> Response:
    """Show the form of a new widget, or of the one that the address names."""
    shown = await _find_to_change(visit)
    asked = visit.asked("widget")
    form = form_of(visit, find_widget(shown.content, asked)) if asked else empty_form(visit)
    return visit.page("dashboards/form.html", shown=shown, form=form, chart=None, error="", widget=None)


async def save(visit: Visit) -> Response:
    """Save the widget that was filled in; or show its answer, or the fields of another source, first."""
    shown = await _find_to_change(visit)
    form, chart, widget, message = read_form(visit), None, None, ""
    try:
        if not visit.given("show"):
            widget = widgets.parse(form.to_json())
            questions.check(widget, visit.principal)
        if widget is not None and visit.given("preview"):
            chart, message = await _answer(visit, widget)
        elif widget is not None:
            async with visit.open() as tx:
                await dashboards.put_widget(tx, number(visit), widget)
            return visit.to(f"/dashboards/{shown.id}", edit="1", done="saved")
    except CortexError as error:
        message = error.message
    return _show_again(visit, shown, form, (widget, chart, message))


async def remove(visit: Visit) -> Response:
    """Remove a widget."""
    async with visit.open() as tx:
        await dashboards.remove_widget(tx, number(visit), str(visit.request.path_params["widget"]))
    return visit.to(f"/dashboards/{number(visit)}", edit="1", done="removed")


async def _find_to_change(visit: Visit) -> Shown:
    async with visit.open() as tx:
        shown = await find(visit, tx)
    if not shown.can_change:
        raise ForbiddenError("copy the dashboard to change it")
    return shown


def _show_again(
    visit: Visit, shown: Shown, form: Form, outcome: tuple[Widget | None, Chart | None, str]
) -> Response:
    widget, chart, message = outcome
    return visit.page(
        "dashboards/form.html",
        status=400 if message else 200,
        shown=shown,
        form=form,
        chart=chart,
        error=message,
        widget=widget,
    )


async def _answer(visit: Visit, widget: Widget) -> tuple[Chart | None, str]:
    if widget.type is WidgetType.TEXT:
        return None, ""
    try:
        async with visit.open() as tx:
            return to_chart(widget, await questions.answer(tx, widget)), ""
    except CortexError as error:
        return None, error.message
